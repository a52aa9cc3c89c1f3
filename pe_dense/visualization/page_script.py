"""Style and script of the page that explores features (plain JavaScript, no library)."""

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 16px; background: #202020; color: #ddd; }
h1 { font-size: 18px; margin: 0 0 8px; }
#controls { position: sticky; top: 0; background: #202020; padding: 6px 0; z-index: 1; }
#controls label { margin-right: 18px; white-space: nowrap; }
#images { display: flex; flex-wrap: wrap; gap: 10px; }
figure { margin: 0; }
figcaption { font-size: 12px; overflow-wrap: anywhere; }
.stage { position: relative; cursor: crosshair; touch-action: none; line-height: 0; }
.stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
"""

SCRIPT = """
'use strict';
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const colors = bytes(DATA.colors);
const make = (tag, parent, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
const controls = document.getElementById('controls');
let layer = null, query = null, pinned = false;

function control(text, tag, properties) {
  const label = make('label', controls, {});
  label.append(text + ' ');
  return make(tag, label, properties);
}
const choice = control('layer', 'select', {});
DATA.layers.forEach((l, i) => make('option', choice, {value: i, textContent: l.name}));
const opacity = control('opacity', 'input', {type: 'range', min: 0, max: 100, value: 65});
const low = control('from', 'input', {type: 'number', min: -1, max: 1, step: 0.05, value: 0});
const high = control('to', 'input', {type: 'number', min: -1, max: 1, step: 0.05, value: 1});
const smooth = control('smooth', 'input', {type: 'checkbox', checked: true});
const hint = make('span', controls, {});

const stages = DATA.pictures.map((picture, index) => {
  const figure = make('figure', document.getElementById('images'), {});
  const stage = make('div', figure, {className: 'stage'});
  const image = make('img', stage, {src: picture.source, alt: picture.name, draggable: false});
  const canvas = make('canvas', stage, {});
  const caption = make('figcaption', figure, {textContent: picture.name});
  const small = document.createElement('canvas');
  stage.addEventListener('pointermove', event => { if (!pinned || event.pointerType !== 'mouse') look(index, event); });
  stage.addEventListener('pointerdown', event => {
    pinned = !pinned || event.pointerType !== 'mouse';
    look(index, event);
  });
  image.addEventListener('load', draw);
  return {image, canvas, caption, small, name: picture.name};
});

// int8 directions to floats of length 1, once per layer
function unpack(l) {
  if (!l.units) l.units = l.grids.map(grid => {
    const codes = new Int8Array(bytes(grid.codes).buffer), units = Float32Array.from(codes);
    for (let start = 0; start < units.length; start += l.dims) {
      let sum = 0;
      for (let d = 0; d < l.dims; d++) sum += units[start + d] ** 2;
      const scale = sum > 0 ? 1 / Math.sqrt(sum) : 0;
      for (let d = 0; d < l.dims; d++) units[start + d] *= scale;
    }
    return units;
  });
  return l;
}

function look(index, event) {
  const box = event.currentTarget.getBoundingClientRect();
  const part = (value, size) => Math.min(0.9999, Math.max(0, value / size));
  query = {index, x: part(event.clientX - box.left, box.width), y: part(event.clientY - box.top, box.height)};
  draw();
}

function draw() {
  hint.textContent = (pinned ? 'click to release; ' : 'move over an image, click to hold; ')
    + (100 * layer.kept).toFixed(1) + ' % of the energy of the features is in the ' + layer.dims + ' components shown';
  if (!query) return;
  const source = layer.grids[query.index], dims = layer.dims;
  const cell = Math.floor(query.y * source.rows) * source.columns + Math.floor(query.x * source.columns);
  const vector = layer.units[query.index].subarray(cell * dims, cell * dims + dims);
  const from = Number(low.value), range = Math.max(1e-6, Number(high.value) - from);
  stages.forEach((stage, index) => {
    const grid = layer.grids[index], units = layer.units[index];
    stage.small.width = grid.columns;
    stage.small.height = grid.rows;
    const context = stage.small.getContext('2d'), heat = context.createImageData(grid.columns, grid.rows);
    let best = -1;
    for (let i = 0; i < grid.rows * grid.columns; i++) {
      let cosine = 0;
      for (let d = 0; d < dims; d++) cosine += vector[d] * units[i * dims + d];
      best = Math.max(best, cosine);
      const color = Math.round(255 * Math.min(1, Math.max(0, (cosine - from) / range)));
      for (let c = 0; c < 3; c++) heat.data[4 * i + c] = colors[3 * color + c];
      heat.data[4 * i + 3] = 255;
    }
    context.putImageData(heat, 0, 0);
    const canvas = stage.canvas, big = canvas.getContext('2d');
    canvas.width = stage.image.naturalWidth;
    canvas.height = stage.image.naturalHeight;
    big.imageSmoothingEnabled = smooth.checked;
    big.globalAlpha = opacity.value / 100;
    big.drawImage(stage.small, 0, 0, canvas.width, canvas.height);
    big.globalAlpha = 1;
    if (index === query.index) {
      const x = (cell % source.columns + 0.5) / source.columns * canvas.width;
      const y = (Math.floor(cell / source.columns) + 0.5) / source.rows * canvas.height;
      for (const [width, style] of [[5, '#000'], [2, '#fff']]) {
        big.beginPath();
        big.arc(x, y, 7, 0, 2 * Math.PI);
        big.lineWidth = width;
        big.strokeStyle = style;
        big.stroke();
      }
    }
    stage.caption.textContent = stage.name + ', up to ' + best.toFixed(2);
  });
}

function select() {
  layer = unpack(DATA.layers[choice.value]);
  draw();
}
choice.addEventListener('change', select);
for (const input of [opacity, low, high, smooth]) input.addEventListener('input', draw);
choice.value = DATA.layers.length - 1;
select();
"""
