"use strict";
// What a report shows of the facts beside it. No library: small parts that draw, and one that is chosen.
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const { labels, palette, colours, limits } = facts;
  const at = id => document.getElementById(id);
  const count = labels.length;
  const shown = { output: null, phases: facts.phases.chosen, pair: null };

  // ---------------------------------------------------------------- words and elements

  const made = (tag, text = "", kind = "") => Object.assign(document.createElement(tag), { textContent: text, className: kind });
  const number = (x, digits = 4) => x === null || x === undefined ? "—" : Math.abs(x) >= 1e4 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2) : x.toFixed(digits);
  const percent = x => x === null ? "—" : (100 * x).toFixed(1) + " %";

  function drawn(tag, attributes, parent, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  function bars(rows) {  // [name, value, text]
    const box = made("div", "", "bars"), most = Math.max(...rows.map(row => Math.abs(row[1])), 1e-12);
    for (const [name, value, text] of rows) {
      const bar = made("div", "", value < 0 ? "bar less" : "bar");
      bar.style.width = 100 * Math.abs(value) / most + "%";
      box.append(made("span", name), bar, made("span", text));
    }
    return box;
  }

  function largest(values, names, most, text) {
    const order = values.map((value, k) => [names[k], value, text(value, k)]).filter(row => row[1] !== null);
    order.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    return order.slice(0, most);
  }

  // ---------------------------------------------------------------- heat maps

  function colour(value, [low, high]) {
    if (value === null) return "#e3e6ea";
    const shades = palette[low < 0 ? "signed" : "plain"], t = Math.min(1, Math.max(0, (value - low) / (high - low)));
    return shades[Math.round(t * (shades.length - 1))];
  }

  function heat(canvas, { values, limits, edges = [], chosen = null, side = 440 }) {
    const rows = values.length, columns = values[0].length, cell = Math.max(2, Math.floor(side / Math.max(rows, columns)));
    const sharp = window.devicePixelRatio || 1, [width, height] = [cell * columns, cell * rows];
    canvas.width = width * sharp;
    canvas.height = height * sharp;
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    values.forEach((row, i) => row.forEach((value, j) => {
      pen.fillStyle = colour(value, limits);
      pen.fillRect(j * cell, i * cell, cell, cell);
    }));
    for (const edge of edges) {
      for (const [ink, wide] of [["#ffffff", 3], ["#17202e", 1]]) {
        pen.strokeStyle = ink;
        pen.lineWidth = wide;
        pen.beginPath();
        pen.moveTo(edge * cell, 0); pen.lineTo(edge * cell, height);
        pen.moveTo(0, edge * cell); pen.lineTo(width, edge * cell);
        pen.stroke();
      }
    }
    if (chosen) {
      pen.strokeStyle = "#17202e";
      pen.lineWidth = 2;
      pen.strokeRect(chosen[1] * cell + 1, chosen[0] * cell + 1, Math.max(1, cell - 2), Math.max(1, cell - 2));
    }
  }

  function cellAt(canvas, event, rows, columns) {
    const box = canvas.getBoundingClientRect();
    const [i, j] = [(event.clientY - box.top) / box.height * rows, (event.clientX - box.left) / box.width * columns].map(Math.floor);
    return i >= 0 && j >= 0 && i < rows && j < columns ? [i, j] : null;
  }

  function scaled(node, [low, high]) {
    const ramp = made("i");
    ramp.style.background = `linear-gradient(to right, ${palette[low < 0 ? "signed" : "plain"].join(", ")})`;
    node.replaceChildren(made("span", number(low, 1)), ramp, made("span", number(high, 1)));
  }

  function ticks(box, names, at, size, across) {  // names beside a map, as far as they stand clear of each other
    box.replaceChildren();
    let last = -Infinity;
    for (const k of at) {
      const where = (k + 0.5) / names.length * size;
      if (where - last < (across ? 6.5 * String(names[k]).length + 6 : 15)) continue;
      last = where;
      const tick = made("span", names[k]);
      tick.style[across ? "left" : "top"] = where + "px";
      box.append(tick);
    }
  }

  function framed(canvas) {  // a map between its names
    const frame = made("div", "", "framed"), [left, below] = [made("div", "", "left"), made("div", "", "below")];
    canvas.replaceWith(frame);
    frame.append(left, canvas, below);
    return (rows, columns, atRows, atColumns) => {
      ticks(left, rows, atRows, parseFloat(canvas.style.height), false);
      ticks(below, columns, atColumns, parseFloat(canvas.style.width), true);
    };
  }
  const every = names => names.map((_, k) => k);

  // ---------------------------------------------------------------- similarities, and the pair that is chosen

  const matrix = () => shown.output === null ? facts.similarity : facts.slices[shown.output];
  const edges = () => facts.phases.boundaries[shown.phases] || [];

  const nameMap = framed(at("map"));

  function showMap() {
    heat(at("map"), { values: matrix(), limits, edges: edges(), chosen: shown.pair });
    const named = [0, ...edges(), count - 1].filter((k, n, all) => !n || k > all[n - 1]);
    nameMap(labels, labels, named, named);
  }

  function tell(pair) {
    const value = matrix()[pair[0]][pair[1]];
    at("told").textContent = `${labels[pair[0]]}  and  ${labels[pair[1]]}:  ${number(value)}`;
  }

  function choose(pair) {
    shown.pair = pair;
    showMap();
    tell(pair);
    const [i, j] = [Math.min(...pair), Math.max(...pair)], box = at("pair");
    box.replaceChildren(made("h3", `From ${labels[i]} to ${labels[j]}`));
    box.append(made("p", `similarity ${number(facts.similarity[i][j])}, distance ${number(facts.distance[i][j])}`));
    if (i === j) { box.append(made("p", "The same model.", "muted")); return; }
    box.append(made("h3", "Which outputs changed"));
    if (facts.shares) {
      const shares = facts.shares.map(of => of[i][j]);
      const rows = largest(shares, facts.outputs, 12, (x, k) => `${percent(x)}, similarity ${number(facts.slices[k][i][j], 3)}`);
      box.append(bars(rows));
      box.append(made("p", "Shares of the squared distance; they add up to all of it." + (shares.length > 12 ? ` The largest 12 of ${shares.length}.` : ""), "muted"));
    } else box.append(made("p", facts.reasons.shares, "muted"));
    box.append(made("h3", "Which layers changed"));
    const layers = j === i + 1 ? facts.neighbours[i] : null;
    if (layers) box.append(bars(layers.map((x, k) => [facts.names[k], x, percent(x)])));
    else box.append(made("p", facts.reasons.neighbours || "Split by layer for neighbours only: click a cell beside the diagonal.", "muted"));
  }

  function similarities() {
    const output = at("output"), phases = at("phases"), map = at("map");
    output.append(new Option("all outputs", ""));
    (facts.slices ? facts.outputs : []).forEach((name, k) => output.append(new Option(`output ${name}`, k)));
    for (const k of Object.keys(facts.phases.boundaries)) phases.append(new Option(k, k, false, +k === facts.phases.chosen));
    output.addEventListener("change", () => {
      shown.output = output.value === "" ? null : +output.value;
      showMap();
      if (shown.pair) tell(shown.pair);
    });
    phases.addEventListener("change", () => { shown.phases = +phases.value; showMap(); path(); curves(); });
    map.addEventListener("pointermove", e => { const pair = cellAt(map, e, count, count); if (pair) tell(pair); });
    map.addEventListener("click", e => { const pair = cellAt(map, e, count, count); if (pair) choose(pair); });
    map.addEventListener("keydown", e => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
      if (!step) return;
      e.preventDefault();
      const from = shown.pair || [0, 0];
      choose(from.map((x, k) => Math.min(count - 1, Math.max(0, x + step[k]))));
    });
    scaled(at("scale"), limits);
    showMap();
    if (count > 1) {  // the step that changed most is told first
      const steps = facts.similarity.slice(1).map((row, k) => row[k] === null ? 2 : row[k]);
      const k = steps.indexOf(Math.min(...steps));
      choose([k, k + 1]);
    }
  }

  // ---------------------------------------------------------------- the path, and curves

  const phaseOf = k => edges().filter(edge => edge <= k).length;
  const phaseColour = k => colours[phaseOf(k) % colours.length];
  const spread = (values, low, high) => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return x => most > least ? low + (x - least) / (most - least) * (high - low) : (low + high) / 2;
  };

  function path() {
    const box = at("path");
    box.replaceChildren();
    if (!facts.path) { box.append(made("p", facts.reasons.path, "muted")); return; }
    const { points, explained } = facts.path, [wide, high, room] = [520, 380, 46];
    const [xs, ys] = [0, 1].map(k => points.map(p => p[k]));
    const reach = Math.max(...xs) - Math.min(...xs) || 1, tall = Math.max(...ys) - Math.min(...ys);
    const scale = Math.min((wide - 2 * room) / reach, (high - 2 * room) / (tall || reach));  // one scale for both axes
    const place = k => [wide / 2 + (xs[k] - (Math.min(...xs) + reach / 2)) * scale, high / 2 - (ys[k] - (Math.min(...ys) + tall / 2)) * scale];
    const svg = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": "the run in its two principal axes" }, box);
    for (let k = 1; k < count; k++) {
      const [a, b] = [place(k - 1), place(k)];
      drawn("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], stroke: phaseColour(k), "stroke-width": 1.5 }, svg);
    }
    const named = new Set(), far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) > 26;
    for (const k of [0, count - 1, ...edges()]) if ([...named].every(other => far(place(other), place(k)))) named.add(k);
    for (let k = 0; k < count; k++) {
      const [x, y] = place(k);
      const dot = drawn("circle", { cx: x, cy: y, r: 4.5, fill: phaseColour(k), class: "dot" }, svg);
      drawn("title", {}, dot, `${labels[k]}`);
      if (k) dot.addEventListener("click", () => choose([k - 1, k]));
    }
    for (const k of named) drawn("text", { x: place(k)[0] + 7, y: place(k)[1] - 6, class: "name" }, svg, labels[k]);
    drawn("text", { x: wide / 2, y: high - 8, "text-anchor": "middle" }, svg, `axis 1 (${percent(explained[0])} of the variance)`);
    drawn("text", { x: 12, y: high / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${high / 2})` }, svg, `axis 2 (${percent(explained[1] || 0)})`);
    box.append(made("figcaption", "Principal axes in function space; as far apart as the functions are. Colours are phases."));
  }

  function curves() {
    const box = at("curves");
    box.replaceChildren();
    const numeric = labels.every(x => typeof x === "number") && labels.every((x, k) => !k || x > labels[k - 1]);
    const time = numeric ? labels : labels.map((_, k) => k);
    for (const [title, series] of facts.curves) {
      const [wide, high, left, right] = [520, 190, 44, 120], names = Object.keys(series);
      const all = names.flatMap(name => series[name]).filter(y => y !== null);
      if (!all.length) continue;
      const x = spread(time, left, wide - right), y = spread([...all, 0], high - 30, 24);
      const svg = drawn("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": title }, box);
      drawn("text", { x: left, y: 12 }, svg, title);
      for (const value of [Math.min(...all, 0), Math.max(...all, 0)]) {
        drawn("line", { x1: left, x2: wide - right, y1: y(value), y2: y(value), stroke: "#c9d0d9", "stroke-width": .6 }, svg);
        drawn("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, svg, number(value, 2));
      }
      for (const edge of edges()) {
        const where = (x(time[edge]) + x(time[edge - 1])) / 2;
        drawn("line", { x1: where, x2: where, y1: 20, y2: high - 28, stroke: "#5b6675", "stroke-dasharray": "3 3", "stroke-width": .8 }, svg);
      }
      const ends = names.map((name, k) => [name, k, y(series[name].findLast(v => v !== null) || 0)]).sort((a, b) => a[2] - b[2]);
      ends.forEach((end, k) => { if (k && end[2] < ends[k - 1][2] + 13) end[2] = ends[k - 1][2] + 13; });
      for (const [name, k, end] of ends) {
        const spots = series[name].map((v, n) => v === null ? null : `${x(time[n])},${y(v)}`).filter(Boolean);
        drawn("polyline", { points: spots.join(" "), fill: "none", stroke: colours[k % colours.length], "stroke-width": 2 }, svg);
        drawn("text", { x: wide - right + 6, y: end + 4, style: `fill: ${colours[k % colours.length]}` }, svg, name);
      }
      drawn("text", { x: left, y: high - 12 }, svg, labels[0]);
      drawn("text", { x: wide - right, y: high - 12, "text-anchor": "end" }, svg, labels[count - 1]);
    }
  }

  // ---------------------------------------------------------------- switches, layers, drawing, methods

  function switches() {
    const box = at("switches");
    if (!facts.switches.length) box.append(made("p", facts.reasons.switches || "There is one phase only.", "muted"));
    for (const found of facts.switches) {
      box.append(made("h3", `${found.before} → ${found.after}`), made("p", found.said));
      if (!found.inputs) continue;
      const pair = made("div", "", "two"), [left, right] = [made("div"), made("div")];
      left.append(made("p", "How many times its ordinary part each output changed", "muted"), bars(largest(found.outputs, facts.outputs, 8, x => number(x, 1))));
      right.append(made("p", `Inputs through which output ${found.output} changed`, "muted"), bars(largest(found.inputs.map(x => x[1]), found.inputs.map(x => x[0]), 8, percent)));
      pair.append(left, right);
      box.append(pair);
    }
  }

  function layers() {
    const box = at("layers");
    if (!facts.layers) { box.append(made("p", facts.reasons.layers, "muted")); return; }
    const { rows, columns, values } = facts.layers, figure = made("figure"), canvas = made("canvas"), told = made("div", "Point at a cell to read it.", "told");
    canvas.id = "layer-map";
    const scale = made("div", "", "scale");
    figure.append(canvas, scale, told, made("figcaption", facts.layers.said));
    box.append(figure);
    const name = framed(canvas);
    heat(canvas, { values, limits: [0, 1], side: Math.min(320, 60 * Math.max(rows.length, columns.length)) });
    name(rows, columns, every(rows), every(columns));
    scaled(scale, [0, 1]);
    canvas.addEventListener("pointermove", e => {
      const cell = cellAt(canvas, e, rows.length, columns.length);
      if (cell) told.textContent = `${rows[cell[0]]} of ${labels[0]}  and  ${columns[cell[1]]} of ${labels[count - 1]}:  ${number(values[cell[0]][cell[1]])}`;
    });
  }

  function drawing() {
    const box = at("drawing");
    if (!facts.drawing) { box.append(made("p", facts.reasons.drawing, "muted")); return; }
    const frame = made("iframe");
    frame.title = "drawing of the model";
    frame.setAttribute("sandbox", "allow-scripts");
    frame.srcdoc = facts.drawing;
    box.append(made("p", `${labels[count - 1]}. Point at a box or disc to read about it, click on a box to open its layer.`, "muted"), frame);
  }

  function methods() {
    const table = made("table");
    for (const [name, text] of facts.methods) {
      const row = made("tr");
      row.append(made("td", name), made("td", text));
      table.append(row);
    }
    at("methods").append(table);
  }

  at("about").textContent = facts.about;
  similarities();
  switches();
  path();
  curves();
  layers();
  drawing();
  methods();
})();
