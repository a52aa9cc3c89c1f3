"""Where a run's processes come from."""

from pe_dense.launch.local import LaunchError, launch
from pe_dense.launch.messages import user_message

__all__ = ["LaunchError", "launch", "user_message"]
