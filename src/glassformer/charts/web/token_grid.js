// Guesses at every layer and token: a table whose cells show the best guess, coloured by how sure it is.
"use strict";

glassformer.component("token-grid", async (root, data, page) => {
  const { element, visible } = glassformer;
  const load = (packed) => (packed ? page.load(packed) : null);
  const packs = [data.guesses, data.probabilities, data.ranks, data.values];
  const [guesses, probabilities, ranks, values] = await Promise.all(packs.map(load));
  const [, R, C, K] = guesses.shape;
  const texts = data.texts.map(visible);
  const tokens = data.tokens.map(visible);
  const right = data.right.map(visible);
  const [low, high] = data.domain;
  let current = null; // [row, column] under the pointer or the keys
  let now = {}; // the numbers of the frame that is shown

  const legend = element("div", { class: "gf-legend" });
  const table = element("table", { class: "gf-guesses", role: "grid", "aria-label": `${data.label}; the arrow keys move from cell to cell` });
  const box = element("div", { class: "gf-guesses-box" }, table);
  const readout = element("div", { class: "gf-readout", role: "status" });
  root.append(legend, box, readout);
  const cells = []; // [row * C + column]
  build();

  function build() {
    const head = element("thead");
    head.append(heading("token", tokens));
    if (right.length) head.append(heading("right", right));
    const body = element("tbody");
    for (let row = 0; row < R; row++) {
      const line = element("tr", {}, element("th", { scope: "row" }, data.rows[row]));
      for (let column = 0; column < C; column++) {
        const cell = element("td", { tabindex: "-1", "data-row": row, "data-column": column }, "");
        cells.push(cell);
        line.append(cell);
      }
      body.append(line);
    }
    table.append(head, body);
    cells[0].tabIndex = 0; // the table is one stop of the tab key
  }

  function heading(name, labels) {
    const row = element("tr", { class: `gf-guesses-${name}` }, element("th", { scope: "row" }, name === "right" ? "right answer" : name));
    for (const label of labels) row.append(element("th", { scope: "col", title: label }, label));
    return row;
  }

  /** The numbers of one frame, decoded when it is first shown. */
  function take(frame) {
    const part = (packed, each) => packed?.slice(frame * R * C * each, (frame + 1) * R * C * each);
    const first = { guesses: part(guesses, K), probabilities: part(probabilities, K), ranks: part(ranks, 1) };
    const best = values ? part(values, 1) : first.probabilities.filter((_, index) => index % K === 0);
    now = { ...first, values: best };
  }

  function paint() {
    const colour = page.colours(data.kind);
    cells.forEach((cell, place) => {
      cell.firstChild.data = texts[now.guesses[place * K]];
      cell.classList.toggle("gf-guesses-hit", now.ranks?.[place] === 1);
      const value = now.values[place];
      const fill = Number.isFinite(value) ? colour((value - low) / (high - low)) : page.nothing();
      cell.style.backgroundColor = `rgb(${fill.join(" ")})`;
      cell.style.color = ink(fill);
    });
    drawLegend();
  }

  /** Black or white, whichever can be read on the fill. */
  function ink(fill) {
    const [r, g, b] = fill.map((part) => (part <= 10.3 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
  }

  function drawLegend() {
    const colour = page.colours(data.kind);
    const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colour(i / 16).join(" ")})`);
    const bar = element("div", { class: "gf-guesses-bar" });
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const ticks = element("div", { class: "gf-ticks" });
    for (const share of [0, 0.5, 1]) {
      const tick = element("span", {}, page.format(low + share * (high - low)));
      tick.style.left = `${100 * share}%`;
      ticks.append(tick);
    }
    legend.replaceChildren(element("span", { class: "gf-legend-title" }, data.valueTitle), element("div", { class: "gf-scale" }, bar, ticks));
    if (ranks) legend.append(element("span", { class: "gf-guesses-key" }, element("i"), "the best guess is right"));
  }

  /** What one cell says: where it is, its guesses with their probabilities, the rank of the right answer. */
  function lines(row, column) {
    const place = row * C + column;
    const said = [`${data.rows[row]} at “${tokens[column]}” (${column})`];
    for (let k = 0; k < K; k++) {
      said.push(`“${texts[now.guesses[place * K + k]]}” ${percent(now.probabilities[place * K + k])}`);
    }
    if (values) said.push(`${data.valueTitle}: ${page.format(now.values[place])}`);
    const answer = right.length && data.right[column] !== "" ? right[column] : null;
    if (ranks && answer !== null) said.push(`right answer “${answer}”: rank ${now.ranks[place].toLocaleString("en")}`);
    return said;
  }

  function percent(probability) {
    return `${page.format(Number((100 * probability).toPrecision(3)))} %`;
  }

  function select(row, column) {
    cells[current ? current[0] * C + current[1] : 0].tabIndex = -1;
    current = [row, column];
    cells[row * C + column].tabIndex = 0;
    const said = lines(row, column);
    readout.textContent = `${said[0]}: ${said.slice(1).join(" · ")}`;
    return said;
  }

  function under(event) {
    const cell = event.target.closest("td");
    return cell && [Number(cell.dataset.row), Number(cell.dataset.column)];
  }

  table.addEventListener("pointermove", (event) => {
    const found = under(event);
    if (!found) return page.tip.hide();
    page.tip.show(event.clientX, event.clientY, select(...found));
  });
  table.addEventListener("pointerleave", () => page.tip.hide());
  table.addEventListener("focusin", (event) => {
    const found = under(event);
    if (found) select(...found);
  });
  table.addEventListener("keydown", (event) => {
    const [row, column] = current ?? [0, 0];
    const moves = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [row, 0],
      End: [row, C - 1],
    };
    if (event.key === "Escape") page.tip.hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    page.tip.hide();
    const [nextRow, nextColumn] = moves[event.key];
    cells[Math.max(0, Math.min(R - 1, nextRow)) * C + Math.max(0, Math.min(C - 1, nextColumn))].focus();
  });

  function show(frame) {
    take(frame);
    paint();
    if (current) select(...current);
  }

  show(page.frame());
  return { frame: show, theme: paint };
});
