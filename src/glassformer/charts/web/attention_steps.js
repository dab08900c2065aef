// One attention head, step by step: softmax(QKᵀ/√d_k)·V, computed here from Q, K and V.
"use strict";

(() => {
  const { element, selector, visible } = glassformer;

  glassformer.component("attention-steps", async (root, data, page) => {
    const [query, key, value, mask] = await Promise.all([data.query, data.key, data.value, data.mask].map(page.load));
    const [, H, T, depth] = query.shape; // depth: d_k
    const [, G, S, width] = value.shape; // width: d_v
    const queries = data.queries.map(visible);
    const keys = data.keys.map(visible);
    const chosen = { layer: 0, head: 0 };
    const at = { query: T - 1, key: 0 }; // the pair of tokens that the sentence and the bands follow
    let steps = {};
    let cards = [];

    const layer = selector("layer", data.layers, (index) => choose({ layer: index }));
    const head = selector("head", Array.from({ length: H }, (_, index) => String(index)), (index) => choose({ head: index }));
    const sentence = element("p", { class: "gf-readout gf-steps-sentence", role: "status" });
    const grid = element("div", { class: "gf-steps" });
    root.append(element("div", { class: "gf-controls" }, layer.element, head.element), sentence, grid);

    const part = ({ slice }, number, size) => slice(number * size, (number + 1) * size);

    function compute() {
      const one = chosen.layer * H + chosen.head;
      const group = chosen.layer * G + Math.floor((chosen.head * G) / H);
      const q = part(query, one, T * depth);
      const k = part(key, group, S * depth);
      const v = part(value, group, S * width);
      const scores = productOfRows(q, k, depth);
      const scaled = scores.map((score) => score * data.scale);
      const added = part(mask, mask.shape[0] === 1 ? 0 : chosen.head, T * S);
      const masked = scaled.map((score, index) => score + added[index]);
      const weights = softmax(masked, S);
      steps = { q, k, scores, scaled, masked, weights, v, output: mixture(weights, v, width) };
    }

    /** The matrices in the order in which they are computed, each with the sentence beside it. */
    function plan() {
      const paper = Math.abs(data.scale * Math.sqrt(depth) - 1) < 1e-3;
      const [from, to] = [
        { rows: data.queries, rowTitle: "query", row: "query" },
        { rows: data.keys, rowTitle: "key", row: "key" },
      ];
      const features = (count) => ({ columns: Array.from({ length: count }, (_, i) => String(i)), columnTitle: "feature", column: null });
      const pairs = { columns: data.keys, columnTitle: "key", column: "key" };
      return [
        { name: "q", title: "Q", text: `What each token asks for: a query of ${depth} numbers.`, ...from, ...features(depth) },
        { name: "k", title: "K", text: `What each token offers to be found by: a key of ${depth} numbers.`, ...to, ...features(depth) },
        { name: "scores", title: "Q Kᵀ", text: "The dot product of every query with every key: large where both point the same way.", ...from, ...pairs },
        {
          name: "scaled",
          title: `× ${paper ? "1/√d_k = " : ""}${page.format(data.scale)}`,
          text: "Scaled, so that long vectors do not make the softmax choose one key alone.",
          ...from,
          ...pairs,
        },
        {
          name: "masked",
          title: "+ mask",
          text: masking(part(mask, mask.shape[0] === 1 ? 0 : chosen.head, T * S)),
          ...from,
          ...pairs,
        },
        { name: "weights", title: "softmax", text: "Exponentials over the sum of their row: each row is a set of weights that add up to 1.", ...from, ...pairs },
        { name: "v", title: "V", text: `What each token hands on when it is looked at: ${width} numbers.`, ...to, ...features(width) },
        { name: "output", title: "weights · V", text: "For each query the weighted mean of the values: this head's output.", ...from, ...features(width) },
      ];
    }

    function build() {
      cards = plan().map((step, index) => {
        const heading = element("h4", {}, element("span", { class: "gf-steps-number" }, String(index + 1)), step.title);
        const box = element("div", { class: "gf-matrix" });
        const card = element("div", { class: "gf-step", "data-step": step.name }, heading, element("p", {}, step.text), box);
        grid.append(card);
        return { ...step, box };
      });
    }

    function draw() {
      compute();
      grid.replaceChildren();
      build();
      for (const card of cards) {
        const values = steps[card.name];
        const weights = card.name === "weights";
        card.matrix = glassformer.matrix(card.box, page, {
          ...card,
          label: card.title,
          numbered: false,
          valueTitle: "",
          kind: weights ? "sequential" : "diverging",
          scale: weights ? "sqrt" : "linear",
          domain: weights ? [0, 1] : around(values),
          tallest: 280,
          onCell: (row, column) => follow(card, row, column),
        });
        card.matrix.show(values);
        for (const direction of ["row", "column"]) {
          if (!card[direction]) continue;
          const band = element("div", { class: `gf-band gf-band-${direction} gf-band-${card[direction]}`, "aria-hidden": "true" });
          card.box.querySelector(".gf-cells").append(band);
        }
      }
      tell();
    }

    /** The pair of tokens that a cell stands for; a vector's row changes one of the two. */
    function follow(card, row, column) {
      at[card.row] = row;
      if (card.column) at[card.column] = column;
      tell();
    }

    /** One pair through all the steps, in a sentence, and a band over each row and column that takes part. */
    function tell() {
      const pair = at.query * S + at.key;
      const said = (values) => page.format(values[pair]);
      const hidden = steps.masked[pair] === -Infinity;
      sentence.textContent =
        `query “${queries[at.query]}” (${at.query}), key “${keys[at.key]}” (${at.key}): q·k = ${said(steps.scores)}, ` +
        `scaled ${said(steps.scaled)}, ` +
        (hidden ? "hidden by the mask, " : `masked ${said(steps.masked)}, `) +
        `weight ${said(steps.weights)}`;
      for (const card of cards) {
        for (const [direction, count, start, size] of [
          ["row", card.rows.length, "top", "height"],
          ["column", card.columns.length, "left", "width"],
        ]) {
          const band = card.box.querySelector(`.gf-band-${direction}`);
          if (!band) continue;
          band.style[start] = `${(100 * at[card[direction]]) / count}%`;
          band.style[size] = `${100 / count}%`;
        }
      }
    }

    function choose(change) {
      Object.assign(chosen, change);
      layer.select.value = chosen.layer;
      head.select.value = chosen.head;
      draw();
    }

    // a head clicked in the maps of all heads is shown here, if it is a head of the same model
    page.on("head", (clicked) => {
      if (data.follows && clicked.title !== data.follows) return;
      if (clicked.layer < data.layers.length && clicked.head < H) choose({ layer: clicked.layer, head: clicked.head });
    });

    draw();
    return { theme: () => cards.forEach((card) => card.matrix.theme()) };
  });

  /** What a head's mask does, in a sentence. */
  function masking(added) {
    const hides = added.includes(-Infinity);
    const biased = added.some((bias) => bias !== 0 && bias !== -Infinity);
    if (!hides && !biased) return "No query is kept from any key here: the mask adds 0.";
    const hiding = "−∞ where a query may not look; those cells stay empty.";
    if (!biased) return `The mask adds ${hiding}`;
    return hides ? `The mask adds a bias to each pair, and ${hiding}` : "The mask adds a bias to each pair.";
  }

  /** A·Bᵀ for matrices whose rows have `depth` numbers: [n, depth], [m, depth] -> [n, m]. */
  function productOfRows(a, b, depth) {
    const [n, m] = [a.length / depth, b.length / depth];
    const product = new Float32Array(n * m);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < m; j++) {
        let sum = 0;
        for (let f = 0; f < depth; f++) sum += a[i * depth + f] * b[j * depth + f];
        product[i * m + j] = sum;
      }
    }
    return product;
  }

  /** The softmax of each row of `size` scores; a row of −∞ alone gets weights of 0. */
  function softmax(scores, size) {
    const weights = new Float32Array(scores.length);
    for (let start = 0; start < scores.length; start += size) {
      const row = scores.subarray(start, start + size);
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      if (most === -Infinity) continue;
      const powers = Array.from(row, (score) => Math.exp(score - most));
      const sum = powers.reduce((a, b) => a + b, 0);
      powers.forEach((power, index) => (weights[start + index] = power / sum));
    }
    return weights;
  }

  /** Weights [n, m] times values [m, width]: [n, width]. */
  function mixture(weights, values, width) {
    const m = values.length / width;
    const mixed = new Float32Array((weights.length / m) * width);
    for (let i = 0; i < weights.length / m; i++) {
      for (let j = 0; j < m; j++) {
        const weight = weights[i * m + j];
        if (weight) for (let f = 0; f < width; f++) mixed[i * width + f] += weight * values[j * width + f];
      }
    }
    return mixed;
  }

  /** A domain around zero that holds every finite value. */
  function around(values) {
    const most = values.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a), 0) || 1;
    return [-most, most];
  }
})();
