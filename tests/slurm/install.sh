#!/bin/sh
# Installs what the SLURM tests need from Debian's archive; exit status 1 = they will be skipped.
# No service is needed: the tests start daemons of their own.
set -u
missing=0
for name in slurmctld slurmd munged sbatch srun ip unshare nsenter; do
    command -v "$name" >/dev/null 2>&1 || [ -x "/usr/sbin/$name" ] || missing=1
done
[ $missing = 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "no apt-get, or not root: the SLURM tests will be skipped"
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -y -q --no-install-recommends \
    slurmctld slurmd slurm-client munge iproute2 util-linux || {
    echo "SLURM could not be installed: its tests will be skipped"
    exit 1
}
