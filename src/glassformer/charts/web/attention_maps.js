// All heads of a model: a bird's-eye grid of small maps, the map of the chosen head, and its weights as arcs between
// the tokens. Weights are decoded one map at a time.
"use strict";

(() => {
  const { element, selector, visible } = glassformer;
  const THUMBNAIL = 96; // pixels along the longer side of a small map at most
  const BATCH = 8; // milliseconds of drawing between two frames of the screen
  const FAINTEST = 0.01; // weights below it get no arc
  const LISTED = 5; // tokens named in words at most
  const UNNAMED = 0.001; // weights below it are not

  glassformer.component("attention-maps", async (root, data, page) => {
    const weights = await page.load(data.weights);
    const [, L, H, T, S] = weights.shape;
    const measures = [];
    for (const [name, packed] of data.measures) measures.push({ name, ...(await page.unpack(packed)) });

    const chosen = { layer: 0, head: 0, measure: 0 };
    const at = (layer, head) => (Math.min(page.frame(), weights.shape[0] - 1) * L + layer) * H + head;
    const mapOf = (layer, head) => weights.slice(at(layer, head) * T * S, (at(layer, head) + 1) * T * S);
    const nameOf = (layer, head) => `${data.layers[layer]}, head ${head}`;

    const main = element("div", { class: "gf-attention" });
    const controls = element("div", { class: "gf-controls" });
    root.append(controls, main);
    if (measures.length) {
      const names = measures.map(({ name }) => name);
      const choice = selector("number below each head", names, (index) => {
        chosen.measure = index;
        birdsEye.tell();
      });
      controls.append(choice.element);
    }

    const birdsEye = grid(main);
    const zoom = zoomed(main);
    const arcs = tokenArcs(main, data, page, () => mapOf(chosen.layer, chosen.head));

    function choose(layer, head) {
      Object.assign(chosen, { layer, head });
      birdsEye.mark();
      zoom.show();
      arcs.show();
      page.announce(nameOf(layer, head));
      page.emit("head", { figure: page.figure, title: data.title, layer, head });
    }

    // ---- the bird's-eye grid ---------------------------------------------------------------------------------------

    function grid(parent) {
      const heads = element("div", { class: "gf-heads", role: "grid", "aria-label": "all heads; Enter shows one" });
      heads.style.gridTemplateColumns = `max-content repeat(${H}, minmax(28px, 88px))`;
      main.style.setProperty("--heads", `${90 + 94 * H}px`); // as wide as they would like to be: the columns and gaps
      const box = element("div", {}, element("div", { class: "gf-heads-box" }, heads));
      parent.append(box);
      const shrink = Math.ceil(Math.max(T, S) / THUMBNAIL);
      const [height, width] = [Math.ceil(T / shrink), Math.ceil(S / shrink)];
      const seen = new Set();
      let waiting = new Set();
      const thumbnails = [];

      const top = element("div", { role: "row" }, element("span", { role: "columnheader" }));
      for (let head = 0; head < H; head++) {
        top.append(element("span", { role: "columnheader", class: "gf-head-name" }, H > 8 ? `${head}` : `head ${head}`));
      }
      heads.append(top);
      for (let layer = 0; layer < L; layer++) {
        const row = element("div", { role: "row" });
        row.append(element("span", { role: "rowheader", class: "gf-layer-name" }, data.layers[layer]));
        for (let head = 0; head < H; head++) row.append(thumbnail(layer, head));
        heads.append(row);
      }

      function thumbnail(layer, head) {
        const canvas = element("canvas", { width, height });
        canvas.style.aspectRatio = `${S} / ${T}`;
        const number = element("span");
        const button = element("button", { type: "button", class: "gf-head", tabindex: thumbnails.length ? -1 : 0 }, canvas);
        if (measures.length) button.append(number);
        button.addEventListener("click", () => choose(layer, head));
        button.addEventListener("keydown", (event) => step(event, layer, head));
        thumbnails.push({ layer, head, canvas, number, button });
        return element("div", { role: "gridcell" }, button);
      }

      function step(event, layer, head) {
        const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [];
        if (down === undefined) return;
        event.preventDefault();
        const next = Math.min(L - 1, Math.max(0, layer + down)) * H + Math.min(H - 1, Math.max(0, head + right));
        for (const { button } of thumbnails) button.tabIndex = -1;
        thumbnails[next].button.tabIndex = 0;
        thumbnails[next].button.focus();
      }

      // The largest weight of each block of cells: a thin diagonal stays to be seen. Stored numbers of weights are in
      // the order of the weights themselves, so that only one number a pixel has to be decoded.
      function draw({ layer, head, canvas }) {
        const start = at(layer, head) * T * S;
        const largest = new weights.raw.constructor(width * height);
        for (let row = 0; row < T; row++) {
          const to = Math.floor(row / shrink) * width;
          const from = start + row * S;
          for (let column = 0; column < S; column++) {
            const pixel = to + Math.floor(column / shrink);
            if (weights.raw[from + column] > largest[pixel]) largest[pixel] = weights.raw[from + column];
          }
        }
        const lut = page.lut("sequential");
        const image = new ImageData(width, height);
        for (let pixel = 0; pixel < largest.length; pixel++) {
          const weight = weights.table ? weights.table[largest[pixel]] : largest[pixel];
          const colour = 3 * Math.round(255 * Math.sqrt(Math.min(1, weight)));
          image.data.set([lut[colour], lut[colour + 1], lut[colour + 2], 255], 4 * pixel);
        }
        canvas.getContext("2d").putImageData(image, 0, 0);
      }

      // Small maps in sight are drawn first and at once; the others when they come into sight.
      function drawWaiting() {
        const end = performance.now() + BATCH;
        for (const each of waiting) {
          if (!seen.has(each)) continue;
          draw(each);
          waiting.delete(each);
          if (performance.now() > end) break;
        }
        if ([...waiting].some((each) => seen.has(each))) requestAnimationFrame(drawWaiting);
        else box.dataset.drawn = "true";
      }

      function redraw() {
        box.dataset.drawn = "false";
        const idle = ![...waiting].some((each) => seen.has(each));
        waiting = new Set(thumbnails);
        if (idle) requestAnimationFrame(drawWaiting);
      }

      const watch = new IntersectionObserver(
        (entries) => {
          for (const entry of entries) {
            const each = thumbnails.find(({ canvas }) => canvas === entry.target);
            if (entry.isIntersecting) seen.add(each);
            else seen.delete(each);
          }
          requestAnimationFrame(drawWaiting);
        },
        { rootMargin: "200px" },
      );
      for (const { canvas } of thumbnails) watch.observe(canvas);

      function tell() {
        const measure = measures[chosen.measure];
        const bounds = measure && extent(measure.values);
        for (const { layer, head, number, button } of thumbnails) {
          let label = nameOf(layer, head);
          if (measure) {
            const value = measure.values[at(layer, head)];
            const short = Number.isFinite(value) ? value.toFixed(Math.abs(value) < 9.95 ? 2 : 1) : "–";
            number.textContent = short;
            label += `, ${measure.name} ${page.format(value)}`;
            const t = (value - bounds[0]) / (bounds[1] - bounds[0] || 1);
            button.style.borderColor = Number.isFinite(t) ? `rgb(${page.colours("sequential")(t).join(" ")})` : "";
          }
          button.setAttribute("aria-label", label);
        }
      }

      function mark() {
        for (const { layer, head, button } of thumbnails) {
          const current = layer === chosen.layer && head === chosen.head;
          button.setAttribute("aria-current", current);
          if (current) for (const other of thumbnails) other.button.tabIndex = other.button === button ? 0 : -1;
        }
      }

      mark();
      tell();
      return { redraw, tell, mark, focus: () => thumbnails[chosen.layer * H + chosen.head].button.focus() };
    }

    // ---- the chosen head -------------------------------------------------------------------------------------------

    function zoomed(parent) {
      const title = element("h4");
      const numbers = element("dl", { class: "gf-measures" });
      const box = element("div", { class: "gf-matrix" });
      parent.append(element("div", { class: "gf-zoom" }, title, numbers, box));
      const matrix = glassformer.matrix(box, page, {
        rows: data.queries,
        columns: data.keys,
        rowTitle: data.self ? "from" : "query",
        columnTitle: data.self ? "to" : "key",
        valueTitle: "attention weight",
        label: "attention weights of the chosen head",
        kind: "sequential",
        scale: "sqrt",
        domain: [0, 1],
        numbered: true,
        tallest: 620,
        onCell(row, column) {
          arcs.point(row);
          page.emit("cell", { figure: page.figure, ...chosen, row, column });
        },
        onEscape: () => birdsEye.focus(),
      });

      function show() {
        title.textContent = nameOf(chosen.layer, chosen.head);
        numbers.replaceChildren(
          ...measures.map(({ name, values }) => {
            const value = page.format(values[at(chosen.layer, chosen.head)]);
            return element("div", {}, element("dt", {}, name), element("dd", {}, value));
          }),
        );
        matrix.show(mapOf(chosen.layer, chosen.head));
      }

      return { show, theme: matrix.theme };
    }

    zoom.show();
    arcs.show();
    return {
      frame() {
        birdsEye.redraw();
        birdsEye.tell();
        zoom.show();
        arcs.show();
      },
      theme() {
        birdsEye.redraw();
        birdsEye.tell();
        zoom.theme();
        arcs.show();
      },
    };
  });

  // ---- arcs between tokens -------------------------------------------------------------------------------------------

  // One row of tokens where queries and keys are the same, else a row of queries above a row of keys.
  function tokenArcs(parent, data, page, currentMap) {
    const [T, S] = [data.queries.length, data.keys.length];
    const texts = { query: data.queries.map(visible), key: data.keys.map(visible) };
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    drawing.setAttribute("aria-hidden", "true");
    const readout = element("div", { class: "gf-readout", role: "status" });
    const inner = element("div", { class: "gf-arcs-inner" });
    const heading = element("div", { class: "gf-arcs-title" }, element("h4", {}, "Token to token"));
    const scroll = element("div", { class: "gf-arcs-scroll" }, inner);
    let token = { side: "query", index: Math.min(T - 1, 12) }; // the one pointed at; at first one in sight
    let backwards = false; // with one row of tokens: show who looks at the token

    const rows = {};
    if (data.self) {
      rows.query = rows.key = tokenRow("query", "tokens");
      inner.append(drawing, rows.query.element);
      directions();
    } else {
      rows.query = tokenRow("query", "queries");
      rows.key = tokenRow("key", "keys");
      inner.append(rows.query.name, rows.query.element, drawing, rows.key.element, rows.key.name);
    }
    parent.append(element("div", { class: "gf-arcs" }, heading, scroll, readout));

    function directions() {
      const name = `direction-${page.figure}`;
      ["looks at", "is looked at by"].forEach((text, index) => {
        const input = element("input", { type: "radio", name, value: text });
        input.checked = index === 0;
        input.addEventListener("change", () => {
          backwards = index === 1;
          show();
        });
        heading.append(element("label", {}, input, text));
      });
    }

    function tokenRow(side, title) {
      const spans = texts[side].map((text, index) => {
        const span = element("span", { tabindex: index ? -1 : 0, role: "option", "aria-selected": "false" }, text);
        span.addEventListener("pointerenter", () => point(index, side));
        span.addEventListener("pointerdown", () => point(index, side));
        span.addEventListener("focus", () => point(index, side));
        span.addEventListener("keydown", (event) => {
          const moves = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: spans.length - 1 };
          if (event.key === "Escape") return clear();
          if (!(event.key in moves)) return;
          event.preventDefault();
          const next = spans[Math.min(spans.length - 1, Math.max(0, moves[event.key]))];
          span.tabIndex = -1;
          next.tabIndex = 0;
          next.focus();
        });
        return span;
      });
      const row = element("div", { class: "gf-tokens", role: "listbox", "aria-orientation": "horizontal", "aria-label": title }, ...spans);
      return { element: row, spans, name: element("div", { class: "gf-token-row-name" }, title) };
    }

    function point(index, side = "query") {
      if (token?.index === index && token.side === side) return;
      token = { index, side };
      show();
    }

    function clear() {
      token = null;
      show();
    }

    function show() {
      for (const { spans } of [rows.query, rows.key]) {
        for (const span of spans) {
          if (span.style.background) span.style.background = span.style.color = "";
          if (span.classList.contains("gf-token-chosen")) {
            span.classList.remove("gf-token-chosen");
            span.setAttribute("aria-selected", "false");
          }
        }
      }
      drawing.replaceChildren();
      if (!token) {
        readout.textContent = "Point at a token, or reach it with Tab and the arrow keys.";
        return;
      }
      const from = token.side === "query" && !(data.self && backwards); // else: who looks at this key
      const map = currentMap();
      const found = [];
      for (let other = 0; other < (from ? S : T); other++) {
        const weight = from ? map[token.index * S + other] : map[other * S + token.index];
        found.push({ other, weight });
      }
      const targets = from ? rows.key : rows.query;
      const start = rows[token.side].spans[token.index];
      for (const { other, weight } of found) {
        if (weight < FAINTEST) continue;
        const target = targets.spans[other];
        drawing.append(arc(start, target, weight, token.side));
        const share = Math.round(100 * Math.min(1, Math.sqrt(weight)) * 0.7);
        target.style.background = `color-mix(in srgb, var(--accent) ${share}%, transparent)`;
      }
      start.classList.add("gf-token-chosen");
      start.setAttribute("aria-selected", "true");
      say(found, from);
    }

    function arc(start, target, weight, side) {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const height = drawing.clientHeight || 130;
      const left = drawing.getBoundingClientRect().left;
      const middle = (span) => {
        const box = span.getBoundingClientRect();
        return box.left + box.width / 2 - left;
      };
      const [a, b] = [middle(start), middle(target)];
      if (data.self) {
        const lift = Math.min(height - 6, 14 + Math.abs(a - b) * 0.42);
        const top = height - (4 / 3) * lift;
        path.setAttribute("d", a === b ? loop(a, height) : `M${a} ${height}C${a} ${top} ${b} ${top} ${b} ${height}`);
      } else {
        const [y, z] = side === "query" ? [0, height] : [height, 0];
        path.setAttribute("d", `M${a} ${y}C${a} ${height / 2} ${b} ${height / 2} ${b} ${z}`);
      }
      path.style.strokeWidth = (1 + 5 * weight).toFixed(2);
      path.style.opacity = (0.15 + 0.85 * Math.sqrt(Math.min(1, weight))).toFixed(3);
      return path;
    }

    function loop(x, height) {
      return `M${x - 4} ${height}C${x - 14} ${height - 24} ${x + 14} ${height - 24} ${x + 4} ${height}`;
    }

    function say(found, from) {
      const [own, others] = from ? ["query", "key"] : ["key", "query"];
      const named = (side, index) => `“${texts[side][index]}” (${index})`;
      const strongest = found.filter(({ weight }) => weight >= UNNAMED).sort((a, b) => b.weight - a.weight).slice(0, LISTED);
      const list = strongest.map(({ other, weight }) => `${named(others, other)} ${page.format(weight)}`).join(", ");
      readout.textContent = `${named(own, token.index)} ${from ? "looks at" : "is looked at by"} ${list || "nothing"}`;
    }

    new ResizeObserver(() => token && show()).observe(inner);
    return { show, point: (index) => point(index, "query") };
  }

  function extent(values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return [low, high];
  }
})();
