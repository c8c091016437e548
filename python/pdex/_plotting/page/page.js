"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const meta = JSON.parse(byId("meta").textContent);
  const whole = new Intl.NumberFormat("en");
  const SVG = "http://www.w3.org/2000/svg";

  // --- elements: text is always set as text, never as markup ------------------------------------

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") node.textContent = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // --- numbers ----------------------------------------------------------------------------------

  // A name, shortened for the drawing.
  const brief = (name) => (name.length > 24 ? `${name.slice(0, 23)}\u2026` : name);
  const signed = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
  function short(value) {
    if (!Number.isFinite(value)) return value > 0 ? "\u221e" : value < 0 ? "\u2212\u221e" : "\u2013";
    const size = Math.abs(value);
    if (size === 0) return "0";
    const text = size < 0.001 || size >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
    return text.replace(/-/g, "\u2212");
  }
  const counted = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
  const fold = (value) => (Number.isFinite(value) ? signed(value) : short(value));
  // A p-value as text from its -log10, which still has a value when the p-value itself rounds to 0.
  function tail(log) {
    if (Number.isNaN(log)) return "\u2013";
    if (log === Infinity) return "0";
    if (log < 3) return String(Number((10 ** -log).toPrecision(2)));
    let power = Math.ceil(log);
    let factor = 10 ** (power - log);
    if (factor >= 9.95) [factor, power] = [1, power - 1];
    return `${factor.toFixed(1)}e\u2212${power}`;
  }

  // --- the packed arrays: deflated, byte by byte ------------------------------------------------

  async function unpack() {
    const text = atob(byId("packed").textContent.trim());
    const deflated = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) deflated[i] = text.charCodeAt(i);
    const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const kinds = { "<u2": Uint16Array, "<u4": Uint32Array, "<f4": Float32Array };
    const arrays = {};
    let start = 0;
    for (const [name, kind, size] of meta.sections) {
      const array = new kinds[kind](size);
      const width = array.BYTES_PER_ELEMENT;
      const out = new Uint8Array(array.buffer);
      for (let plane = 0; plane < width; plane++) {
        for (let i = 0; i < size; i++) out[i * width + plane] = bytes[start + plane * size + i];
      }
      start += size * width;
      arrays[name] = array;
    }
    return arrays;
  }

  let data;
  try {
    data = await unpack();
  } catch (error) {
    byId("failure").hidden = false;
    byId("failure").textContent = `The page's data cannot be read (${error.message}). It needs a browser from 2023 or later, and the complete file.`;
    return;
  }

  // Where the points and top genes of each target start.
  let points = 0, rows = 0;
  for (const [place, target] of meta.targets.entries()) {
    target.place = place;
    target.start = points;
    target.firstRow = rows;
    points += target.points[0] + target.points[1];
    rows += target.top;
  }

  // The points of a target. Those of its top genes, `best`, have exact numbers and are linked to their rows.
  function pointsOf(target, best) {
    const list = [];
    let at = target.start;
    target.points.forEach((count, kind) => {
      let gene = 0;
      for (let i = 0; i < count; i++, at++) {
        gene += data.gene[at];
        const x = data.x[at], y = data.y[at];
        const effect = (2 * x / meta.steps - 1) * target.limit, log = y / meta.steps * target.height;
        const change = kind ? "none" : ["down", "flat", "up"][1 + Math.sign(2 * x - meta.steps)];
        list.push({ gene: meta.genes[gene], x, y, effect, log, change });
      }
    });
    // Two genes may have the same name, so rows and points are matched by their numbers, too.
    const exact = new Map(best.map((row) => [row.gene, []]));
    for (const row of best) exact.get(row.gene).push(row);
    const near = (value, place, most, step) => Math.abs(Math.max(-most, Math.min(most, value)) - place) <= step;
    for (const point of list) {
      const row = exact.get(point.gene)?.find((r) => !r.point &&
        near(r.effect, point.effect, target.limit, 2 * target.limit / meta.steps) &&
        near(r.neg_log10_p, point.log, target.height, target.height / meta.steps));
      if (!row) continue;
      row.point = point;
      Object.assign(point, { exact: true, effect: row.effect, log: row.neg_log10_p, fdr: row.neg_log10_fdr });
    }
    return list;
  }

  function topOf(target) {
    const width = meta.columns.length;
    return Array.from({ length: target.top }, (_, i) => {
      const at = target.firstRow + i;
      const row = { gene: meta.genes[data.top[at]] };
      meta.columns.forEach((name, j) => { row[name] = data.numbers[at * width + j]; });
      return row;
    });
  }

  // --- axes -------------------------------------------------------------------------------------

  function ticks(low, high, most) {
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= rough);
    const list = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) list.push(i * step + 0);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return list.map((value) => [value, step >= 1 ? whole.format(value).replace("-", "\u2212") : signed(value, digits)]);
  }

  // Makes a drawing with axes; returns it with the functions that convert values to pixels.
  function frame(width, height, x, y) {
    const box = { left: 46, right: 10, top: 10, bottom: 42 };
    const w = width - box.left - box.right, h = height - box.top - box.bottom;
    const px = (v) => box.left + (v - x.low) / (x.high - x.low) * w;
    const py = (v) => box.top + h - (v - y.low) / (y.high - y.low) * h;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    for (const [value, text] of ticks(x.low, x.high, w / 70)) {
      root.append(svg("line", { class: "grid", x1: px(value), x2: px(value), y1: box.top, y2: box.top + h }));
      root.append(svg("text", { x: px(value), y: box.top + h + 16, "text-anchor": "middle", text }));
    }
    for (const [value, text] of ticks(y.low, y.high, h / 45)) {
      root.append(svg("line", { class: "grid", x1: box.left, x2: box.left + w, y1: py(value), y2: py(value) }));
      root.append(svg("text", { x: box.left - 6, y: py(value) + 4, "text-anchor": "end", text }));
    }
    root.append(svg("text", { x: box.left + w / 2, y: height - 6, "text-anchor": "middle", text: x.title }));
    root.append(svg("text", { transform: `translate(12 ${box.top + h / 2}) rotate(-90)`, "text-anchor": "middle", text: y.title }));
    return { root, px, py, box, w, h };
  }

  // --- the volcano ------------------------------------------------------------------------------

  const TURNS = { right: "l-9 -5v10z", left: "l9 -5v10z", up: "l-5 9h10z" };
  let chosen = null, drawn = [], drawing = null, focus = -1;

  function drawVolcano() {
    if (!meta.effect) return;
    const target = chosen;
    const width = Math.max(300, byId("plot").clientWidth), height = Math.round(Math.min(470, Math.max(320, width * 0.58)));
    const x = { low: -target.limit, high: target.limit, title: meta.effect.name };
    const y = { low: 0, high: target.height, title: "\u2212log10 p-value" };
    drawing = frame(width, height, x, y);
    const { root, px, py, box, w, h } = drawing;
    for (const point of drawn) {
      point.px = box.left + point.x / meta.steps * w;
      point.py = box.top + h - point.y / meta.steps * h;
      point.edge = point.x === 0 ? "left" : point.x === meta.steps ? "right" : point.y === meta.steps ? "up" : null;
    }
    const cut = (attributes) => root.append(svg("line", { class: "cut", ...attributes }));
    if (target.line !== null) cut({ x1: box.left, x2: box.left + w, y1: py(target.line), y2: py(target.line) });
    if (meta.minAbsLfc) for (const v of [-meta.minAbsLfc, meta.minAbsLfc]) if (Math.abs(v) < target.limit) cut({ x1: px(v), x2: px(v), y1: box.top, y2: box.top + h });
    for (const change of ["none", "flat", "down", "up"]) {
      const some = drawn.filter((point) => point.change === change);
      const place = (point) => `M${point.px.toFixed(1)} ${point.py.toFixed(1)}`;
      root.append(svg("path", { class: `points ${change}`, d: some.filter((p) => !p.edge).map((p) => place(p) + "h0").join("") }));
      root.append(svg("path", { class: `edge ${change}`, d: some.filter((p) => p.edge).map((p) => place(p) + TURNS[p.edge]).join("") }));
    }
    drawLabels(root, width < 500 ? 8 : 12);
    root.append(svg("g", { id: "ring" }));
    root.setAttribute("tabindex", "0");
    root.setAttribute("role", "application");
    root.setAttribute("aria-roledescription", "plot");
    root.setAttribute("aria-label", `Volcano of ${target.name}: ${target.up} genes up, ${target.down} down. Arrow keys step through the genes; the table below lists the top genes.`);
    byId("plot").querySelector("svg")?.remove();
    byId("plot").prepend(root);
    listen(root);
  }

  // Places labels one by one where they cover no other label, then the fewest hits, then nearest.
  function drawLabels(root, most) {
    const hits = drawn.filter((point) => point.change !== "none");
    const named = hits.filter((point) => point.exact).sort(bySignificance).slice(0, most);
    const { box, w, h } = drawing, placed = [];
    for (const point of named) {
      const half = brief(point.gene).length * 3.5 + 3;
      let best = null;
      for (const radius of [9, 15, 24, 36, 50, 68, 90]) {
        for (let k = 0; k < 16; k++) {
          const cos = Math.cos(k * Math.PI / 8), sin = Math.sin(k * Math.PI / 8);
          const at = { x: point.px + cos * (radius + half), y: point.py + sin * (radius + 4), half };
          let cost = radius * 0.1;
          if (at.x - half < box.left || at.x + half > box.left + w || at.y < box.top + 6 || at.y > box.top + h - 6) cost += 1e6;
          for (const other of placed) if (Math.abs(other.x - at.x) < other.half + half && Math.abs(other.y - at.y) < 14) cost += 1e4;
          for (const other of hits) if (Math.abs(other.px - at.x) < half + 2 && Math.abs(other.py - at.y) < 9) cost += 3;
          if (!best || cost < best.cost) best = { ...at, cost };
        }
      }
      placed.push({ ...best, point });
    }
    for (const { x, y, point } of placed) root.append(svg("line", { class: "lead", x1: point.px, y1: point.py, x2: x, y2: y }));
    for (const { x, y, point } of placed) root.append(svg("text", { class: "label", x, y: y + 4, "text-anchor": "middle", text: brief(point.gene) }));
  }

  const bySignificance = (a, b) => b.log - a.log || Math.abs(b.effect) - Math.abs(a.effect);

  function describe(point) {
    const about = point.exact ? "" : "about ";
    const beyond = !point.exact && point.edge ? "beyond " : about;
    return [
      `${meta.effect.name} ${beyond}${fold(point.effect)}`,
      `p ${about}${tail(point.log)}`,
      ...(point.fdr === undefined ? [point.change === "none" ? "not a hit" : "a hit"] : [`FDR ${tail(point.fdr)}`]),
    ];
  }

  // Marks a point and, if `aloud`, announces it to screen readers.
  function mark(point, aloud) {
    if (!drawing) return;
    const ring = byId("ring"), tip = byId("tip");
    ring.replaceChildren();
    tip.hidden = !point;
    if (!point) return;
    ring.append(svg("circle", { class: "ring", cx: point.px, cy: point.py, r: 6 }));
    tip.textContent = [point.gene, ...describe(point)].join("\n");
    if (aloud) byId("said").textContent = `${point.gene}: ${describe(point).join(", ")}`;
    const plot = byId("plot"), scale = plot.clientWidth / drawing.root.viewBox.baseVal.width;
    const left = point.px * scale + 12;
    tip.style.left = `${left + tip.offsetWidth > plot.clientWidth ? Math.max(0, left - 24 - tip.offsetWidth) : left}px`;
    tip.style.top = `${Math.max(0, point.py * scale - tip.offsetHeight - 8)}px`;
  }

  function nearest(event) {
    const bounds = drawing.root.getBoundingClientRect();
    const scale = drawing.root.viewBox.baseVal.width / bounds.width;
    const x = (event.clientX - bounds.left) * scale, y = (event.clientY - bounds.top) * scale;
    let best = null, least = 14 ** 2;
    for (const point of drawn) {
      const distance = (point.px - x) ** 2 + (point.py - y) ** 2 + (point.change === "none" ? 9 : 0);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  function listen(root) {
    root.addEventListener("pointermove", (event) => mark(nearest(event), false));
    root.addEventListener("pointerdown", (event) => mark(nearest(event), true));
    root.addEventListener("pointerleave", () => mark(null));
    root.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") mark(null);
      if (!step || !drawn.length) return;
      event.preventDefault();
      focus = Math.min(drawn.length - 1, Math.max(0, focus + step));
      mark(drawn[focus], true);
    });
  }

  function findGene() {
    const asked = byId("gene").value.trim().toLowerCase();
    mark(null);
    byId("said").textContent = "";
    if (!asked) return;
    const found = drawn.find((p) => p.gene.toLowerCase() === asked) || drawn.find((p) => p.gene.toLowerCase().startsWith(asked));
    if (found) return mark(found, true);
    const known = meta.genes.some((gene) => gene.toLowerCase().startsWith(asked));
    byId("said").textContent = known ? "That gene is not drawn: it is not a hit here, and lies where genes are crowded." : "No gene has a name that starts like that.";
  }

  // --- the target chosen ------------------------------------------------------------------------

  function choose(target, show) {
    const before = chosen;
    chosen = target;
    focus = -1;
    const best = topOf(target);
    drawn = pointsOf(target, best).sort((a, b) => (a.change === "none") - (b.change === "none") || bySignificance(a, b));
    if (before) markRow(before, false);
    markRow(target, true);
    if (show && !target.row.isConnected) drawRest();
    keepOneStop();
    if (show) target.row.scrollIntoView({ block: "nearest" });
    byId("name").textContent = target.name;
    byId("facts").textContent = facts(target).join(" \u00b7 ");
    byId("said").textContent = "";
    drawVolcano();
    mark(null);
    const kinds = [["up", "up", target.up], ["down", "down", target.down], ["flat", "without direction", target.flat], ["none", "not a hit", target.dull]];
    byId("legend").replaceChildren(...kinds.filter(([kind, , n]) => n || kind !== "flat").map(([kind, text, n]) => el("span", {},
      el("span", { class: `dot ${kind}` }), `${text} (${whole.format(n)})`)));
    drawTop(best);
    if (byId("gene").value) findGene();
  }

  function facts(target) {
    const list = [];
    if (target.cells !== null && target.reference !== null) list.push(`${whole.format(target.cells)} cells against ${whole.format(target.reference)}`);
    if (!meta.effect) return [...list, `${whole.format(target.hits)} hits`];
    if (target.points[0] < target.hits) list.push(`${whole.format(target.points[0])} of ${whole.format(target.hits)} hits drawn`);
    if (target.points[1] < target.dull_able) list.push(`${whole.format(target.points[1])} of ${whole.format(target.dull)} others drawn`);
    if (target.undrawn) list.push(`${counted(target.undrawn, "gene")} without p-value or ${meta.effect.name}`);
    if (target.own) list.push(`own gene: ${meta.effect.name} ${signed(target.own.effect)}`);
    return list;
  }

  function drawTop(list) {
    const first = meta.effect ? ["Gene", meta.effect.head] : ["Gene"];
    const heads = [...first, ...(meta.hasMeans ? ["Target mean", "Ref. mean"] : []), "p-value", "FDR"];
    const mean = (i) => (meta.hasMeans && (i === first.length || i === first.length + 1) ? "mean" : null);
    byId("top-heads").replaceChildren(...heads.map((text, i) => el("th", { scope: "col", text, class: mean(i) })));
    byId("top-heading").textContent = list.length ? `Top ${list.length} genes by p-value` : "No gene has a p-value";
    byId("top").replaceChildren(...list.map((row) => {
      const change = row.point?.change;
      const cells = meta.effect ? [row.gene, fold(row.effect)] : [row.gene];
      if (meta.hasMeans) cells.push(short(row.target_mean), short(row.reference_mean));
      cells.push(tail(row.neg_log10_p), tail(row.neg_log10_fdr));
      const place = (on) => () => mark(on ? row.point : null);
      const marked = { onpointerenter: place(true), onpointerleave: place(false) };
      return el("tr", marked, ...cells.map((text, i) => el("td", { text, title: i ? null : text, class: i === 1 && meta.effect ? change : mean(i) })));
    }));
  }

  // --- the table of targets ---------------------------------------------------------------------

  const largest = Math.max(1, ...meta.targets.map((target) => target.hits));
  const lead = (target) => (target.leading === null ? "" : meta.genes[target.leading]);
  const COLUMNS = [
    { head: "Target", key: (t) => t.name, cell: (t) => el("td", { title: t.name }, el("button", { type: "button", text: t.name })) },
    { head: "Cells", key: (t) => t.cells, cell: (t) => el("td", { text: t.cells === null ? "\u2013" : whole.format(t.cells) }) },
    { head: "Hits", key: (t) => t.hits, cell: hitsCell },
    { head: "Own gene", key: (t) => (t.own ? t.own.effect : null), cell: ownCell, about: `${meta.effect?.name} of the target's own gene` },
    { head: "Top hit", key: lead, cell: (t) => el("td", { class: "text", text: lead(t), title: lead(t) || null }), text: true },
  ].filter((column) => !(column.head === "Own gene" && !meta.targets.some((t) => t.own)) && !(column.head === "Cells" && meta.targets.every((t) => t.cells === null)));
  let sorted = { column: COLUMNS.find((column) => column.head === "Hits"), down: true };

  function hitsCell(target) {
    const bar = el("i", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--ups", `${100 * target.up / largest}%`);
    bar.style.setProperty("--downs", `${100 * (target.up + target.down) / largest}%`);
    bar.style.setProperty("--hits", `${100 * target.hits / largest}%`);
    const rest = target.flat ? `, ${target.flat} without direction` : "";
    return el("td", { title: `${target.up} up, ${target.down} down${rest}` }, whole.format(target.hits), bar);
  }

  function ownCell(target) {
    if (!target.own) return el("td", { text: "" });
    const hit = target.own.fdr < meta.fdr;
    return el("td", { text: signed(target.own.effect), class: hit ? (target.own.effect < 0 ? "down" : "up") : null, title: `FDR ${tail(-Math.log10(target.own.fdr))}` });
  }

  const collator = new Intl.Collator("en", { numeric: true });
  function compare(a, b) {
    const [x, y] = [sorted.column.key(a), sorted.column.key(b)];
    const missing = (value) => value === null || value === "";
    if (missing(x) || missing(y)) return missing(x) - missing(y) || collator.compare(a.name, b.name);
    const order = typeof x === "string" ? collator.compare(x, y) : x - y;
    return (sorted.down ? -order : order) || collator.compare(a.name, b.name);
  }

  function drawHeads() {
    byId("heads").replaceChildren(...COLUMNS.map((column) => {
      const active = column === sorted.column;
      const press = () => {
        sorted = { column, down: active ? !sorted.down : typeof column.key(meta.targets[0]) !== "string" && column.head !== "Own gene" };
        drawHeads();
        drawTable();
        [...byId("heads").querySelectorAll("button")][COLUMNS.indexOf(column)].focus();
      };
      const order = active ? (sorted.down ? "descending" : "ascending") : null;
      return el("th", { scope: "col", "aria-sort": order, class: column.text ? "text" : null, title: column.about },
        el("button", { type: "button", text: column.head, onclick: press }));
    }));
  }

  // A target's row is made once, and moved when the table is sorted or filtered.
  function rowOf(target) {
    if (!target.row) {
      target.row = el("tr", { "data-place": target.place }, ...COLUMNS.map((column) => column.cell(target)));
      target.button = target.row.querySelector("button");
      target.button.tabIndex = -1;
    }
    return target.row;
  }

  function markRow(target, on) {
    rowOf(target).classList.toggle("chosen", on);
    target.button.setAttribute("aria-current", on);
  }

  // The tab key stops once in the table, at the chosen row or the first; arrow keys move from there.
  let stop = null;
  function keepOneStop() {
    if (stop) stop.tabIndex = -1;
    const inside = chosen && rowOf(chosen).isConnected;
    stop = inside ? chosen.button : byId("body").querySelector("button");
    if (stop) stop.tabIndex = 0;
  }

  // The number of rows drawn at once; the others follow when the page has been shown.
  const AT_ONCE = 300;
  let rest = [], later = 0;
  function drawRest() {
    byId("body").append(...rest.map(rowOf));
    rest = [];
    keepOneStop();
  }

  function drawTable() {
    const asked = byId("filter").value.trim().toLowerCase();
    const only = byId("only-hits").checked;
    const shown = meta.targets.filter((t) => (!only || t.hits) && t.name.toLowerCase().includes(asked)).sort(compare);
    byId("body").replaceChildren(...shown.slice(0, AT_ONCE).map(rowOf));
    rest = shown.slice(AT_ONCE);
    keepOneStop();
    clearTimeout(later);
    if (rest.length) later = setTimeout(() => requestAnimationFrame(() => setTimeout(drawRest)));
    byId("count").textContent = shown.length === meta.targets.length ? counted(shown.length, "target") : `${whole.format(shown.length)} of ${counted(meta.targets.length, "target")}`;
    return shown;
  }

  function pick(row) {
    const target = meta.targets[Number(row.dataset.place)];
    choose(target, false);
    try {
      history.replaceState(null, "", `#${encodeURIComponent(target.name)}`);
    } catch {
      // A page within another one, such as a notebook, may have no address of its own.
    }
  }

  byId("body").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) pick(row);
  });
  byId("body").addEventListener("keydown", (event) => {
    drawRest();
    const { rows } = byId("body"), at = event.target.closest("tr").sectionRowIndex, last = rows.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: Math.min(at + 10, last), PageUp: Math.max(at - 10, 0), Home: 0, End: last }[event.key];
    const next = rows[to];
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
    pick(next);
  });

  // --- calibration ------------------------------------------------------------------------------

  function drawCalibration(null_) {
    byId("calibration").hidden = false;
    if (null_.verdict) byId("calibration-heading").textContent = `Calibration: ${null_.verdict}`;
    const missing = null_.missing ? ` ${whole.format(null_.missing)} missing ones are left out.` : "";
    byId("calibration-facts").textContent = `${counted(null_.n, "p-value")} of comparisons in which nothing differs. They should be uniform: the histogram is flat and the points lie within the grey band (95 %).${missing}`;
    const size = [420, 280];
    const bins = null_.histogram, level = null_.n / bins.length;
    const left = frame(...size, { low: 0, high: 1, title: "p-value" }, { low: 0, high: Math.max(...bins) * 1.08, title: "number" });
    bins.forEach((count, i) => left.root.append(svg("rect", {
      class: "bars", x: left.px(i / bins.length) + 0.5, width: left.w / bins.length - 1, y: left.py(count), height: left.box.top + left.h - left.py(count) })));
    left.root.append(svg("line", { class: "cut", x1: left.px(0), x2: left.px(1), y1: left.py(level), y2: left.py(level) }));
    left.root.setAttribute("aria-label", `Histogram of p-values: from ${Math.min(...bins)} to ${Math.max(...bins)} in a bar, ${short(level)} expected`);
    const { expected, observed, lower, upper } = null_;
    const top = Math.max(...observed, ...upper) * 1.05;
    const right = frame(...size, { low: 0, high: expected[0] * 1.02, title: "expected \u2212log10 p" }, { low: 0, high: top, title: "observed \u2212log10 p" });
    const at = (values) => values.map((v, i) => `${right.px(expected[i]).toFixed(1)} ${right.py(v).toFixed(1)}`);
    right.root.append(svg("path", { class: "band", d: `M${[...at(upper), ...at(lower).reverse()].join("L")}Z` }));
    right.root.append(svg("path", { class: "cut", fill: "none", d: `M${at(expected).join("L")}` }));
    right.root.append(svg("path", { class: "dots", d: at(observed).map((place) => `M${place}h0`).join("") }));
    right.root.setAttribute("aria-label", "Quantiles of the p-values against those of uniform ones; the table has the shares");
    byId("histogram").append(left.root);
    byId("quantiles").append(right.root);
    const percent = (value) => `${Number((100 * value).toPrecision(3))} %`;
    const found = (p, i) => [el("td", { text: percent(p) }), el("td", { text: percent(null_.shares[i]) })];
    const unjudged = el("td", { colspan: 2, text: `not judged (${counted(null_.n, "p-value")})` });
    const rows_ = null_.levels.map((p, i) => el("tr", { class: null_.judged[i] ? null : "unjudged" },
      el("td", { text: `p \u2264 ${p}` }), ...(null_.judged[i] ? found(p, i) : [unjudged.cloneNode(true)])));
    byId("shares").append(el("table", {}, el("thead", {}, el("tr", {}, ...["", "expected", "found"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows_)));
  }

  // --- start ------------------------------------------------------------------------------------

  function fromAddress() {
    try {
      const name = decodeURIComponent(location.hash.slice(1));
      return meta.targets.find((target) => target.name === name);
    } catch {
      return undefined;
    }
  }
  drawHeads();
  const first = drawTable()[0];
  choose(fromAddress() || first, true);
  byId("filter").addEventListener("input", drawTable);
  byId("filter").addEventListener("keydown", (event) => {
    const row = byId("body").firstElementChild;
    if (!row || (event.key !== "Enter" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    if (event.key === "ArrowDown") row.querySelector("button").focus();
    pick(row);
  });
  byId("only-hits").addEventListener("change", drawTable);
  byId("gene").addEventListener("input", findGene);
  addEventListener("beforeprint", drawRest);
  addEventListener("hashchange", () => { const target = fromAddress(); if (target) choose(target, true); });
  let width = byId("plot").clientWidth;
  new ResizeObserver(() => {
    if (byId("plot").clientWidth === width) return;
    width = byId("plot").clientWidth;
    drawVolcano();
    mark(null);
  }).observe(byId("plot"));
  byId("gene").hidden = byId("plot").parentNode.hidden = !meta.effect;
  if (meta.calibration) drawCalibration(meta.calibration);
  document.documentElement.dataset.ready = "true";
})();
