// The page: its slider and theme, and what every component needs from it. Components register themselves with
// glassformer.component(name, build) and are built when the reader scrolls near them.
"use strict";

const glassformer = (() => {
  const builders = new Map(); // a component's name -> its build function
  const handlers = new Map(); // an event's name -> a set of functions
  const figures = []; // { element, number, frames, at, view }
  let settings = null;
  let frame = 0; // the page's, which each figure maps to one of its own
  let theme = "light";
  const tables = new Map(); // "light sequential" -> 256 colours

  // ---- numbers -----------------------------------------------------------------------------------------------------

  let halves = null; // all 65,536 numbers of 16 bits as floats

  function halfTable() {
    if (halves) return halves;
    halves = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 31;
      const fraction = bits & 1023;
      if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
      else if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
      else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
    return halves;
  }

  function eightBitTable([low, high]) {
    return Float32Array.from({ length: 256 }, (_, q) => low + (high - low) * (q / 255) ** 2);
  }

  async function inflate(text) {
    const coded = atob(text);
    const bytes = new Uint8Array(coded.length);
    for (let i = 0; i < coded.length; i++) bytes[i] = coded.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  // The packed array as it was stored, and a function that decodes a part of it: large arrays stay small in memory.
  async function load(packed) {
    const buffer = await inflate(packed.data);
    const Raw = { "8-bit": Uint8Array, float16: Uint16Array, float32: Float32Array }[packed.dtype];
    const raw = new Raw(buffer);
    const table =
      packed.dtype === "8-bit" ? eightBitTable(packed.domain) : packed.dtype === "float16" ? halfTable() : null;
    function slice(start = 0, end = raw.length) {
      if (!table) return raw.subarray(start, end);
      const values = new Float32Array(end - start);
      for (let i = start; i < end; i++) values[i - start] = table[raw[i]];
      return values;
    }
    return { raw, table, shape: packed.shape, slice };
  }

  async function unpack(packed) {
    const { slice, shape } = await load(packed);
    return { values: slice(), shape };
  }

  // Four significant digits, without the noise of floating point.
  function format(number) {
    if (number === null || Number.isNaN(number)) return "nothing";
    if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
    const size = Math.abs(number);
    let text;
    if (size === 0) text = "0";
    else if (Number.isInteger(number) && size < 1e6) text = String(number);
    else if (size >= 1e5 || size < 1e-4) text = number.toExponential(2).replace("e+", "e");
    else text = String(Number(number.toPrecision(4)));
    return text.replace(/-/g, "−");
  }

  // ---- colours -----------------------------------------------------------------------------------------------------

  function lut(kind) {
    const key = `${theme} ${kind}`;
    if (!tables.has(key)) {
      const coded = atob(settings.colours[theme][kind]);
      tables.set(key, Uint8ClampedArray.from(coded, (character) => character.charCodeAt(0)));
    }
    return tables.get(key);
  }

  function colours(kind) {
    const table = lut(kind);
    return (t) => {
      const at = 3 * Math.round(255 * Math.min(1, Math.max(0, t)));
      return [table[at], table[at + 1], table[at + 2]];
    };
  }

  // The colour of a cell without a value.
  function nothing() {
    const hex = settings.nothing[theme];
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  // ---- tooltip, announcements, events ------------------------------------------------------------------------------

  const tip = {
    // Lines of text beside a point of the window; the first one is the heading.
    show(x, y, lines) {
      const box = document.querySelector(".gf-tip");
      box.replaceChildren(
        ...lines.map((line) => {
          const row = document.createElement("div");
          row.textContent = line;
          return row;
        }),
      );
      box.hidden = false;
      const { width, height } = box.getBoundingClientRect();
      const left = x + 16 + width > innerWidth - 8 ? x - 16 - width : x + 16;
      const top = y + 16 + height > innerHeight - 8 ? y - 16 - height : y + 16;
      box.style.left = `${Math.max(8, left)}px`;
      box.style.top = `${Math.max(8, top)}px`;
    },
    hide() {
      document.querySelector(".gf-tip").hidden = true;
    },
  };

  function announce(text) {
    document.querySelector(".gf-announcement").textContent = text;
  }

  function on(name, handler) {
    if (!handlers.has(name)) handlers.set(name, new Set());
    handlers.get(name).add(handler);
    return () => handlers.get(name).delete(handler);
  }

  function emit(name, detail) {
    for (const handler of handlers.get(name) ?? []) handler(detail);
  }

  // ---- figures -----------------------------------------------------------------------------------------------------

  const shared = {
    load,
    unpack,
    format,
    lut,
    colours,
    nothing,
    tip,
    announce,
    on,
    emit,
    theme: () => theme,
    palette: () => settings.themes[theme].palette,
    frames: () => settings.frames,
  };

  function frameOf(figure) {
    const wanted = figure.at ? figure.at[frame] : frame;
    return Math.min(wanted, figure.frames - 1);
  }

  async function build(figure) {
    const { element, number } = figure;
    figure.begun = true;
    const root = element.querySelector(".gf-root");
    const store = document.getElementById(`gf-data-${number}`);
    const data = JSON.parse(store.textContent);
    store.remove(); // the text is no longer needed, and may be large
    const page = { ...shared, figure: number, frame: () => frameOf(figure) };
    try {
      figure.view = (await builders.get(element.dataset.component)(root, data, page)) ?? {};
      figure.view.theme?.(theme);
      figure.view.frame?.(frameOf(figure));
      root.style.minHeight = ""; // the room that was kept for it
      element.dataset.ready = "true";
    } catch (error) {
      element.dataset.ready = "failed";
      root.textContent = "This figure could not be drawn.";
      throw error;
    }
  }

  function setFrame(index) {
    frame = index;
    const slider = document.getElementById("gf-frame");
    if (slider) {
      slider.value = index;
      slider.setAttribute("aria-valuetext", settings.frames[index]);
      document.querySelector(".gf-frame-name").textContent = settings.frames[index];
    }
    for (const figure of figures) figure.view?.frame?.(frameOf(figure));
    tip.hide();
    emit("frame", { index });
  }

  function setTheme(name) {
    theme = name;
    document.documentElement.dataset.theme = name;
    for (const figure of figures) figure.view?.theme?.(name);
  }

  function connectSlider() {
    const slider = document.getElementById("gf-frame");
    if (!slider) return;
    const play = document.querySelector(".gf-play");
    let timer = 0;
    function stop() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "▶";
      play.setAttribute("aria-label", "play");
    }
    slider.addEventListener("input", () => {
      stop();
      setFrame(Number(slider.value));
    });
    play.addEventListener("click", () => {
      if (timer) return stop();
      const last = settings.frames.length - 1;
      setFrame(frame === last ? 0 : frame + 1);
      timer = setInterval(() => (frame >= last ? stop() : setFrame(frame + 1)), 900);
      play.textContent = "❚❚";
      play.setAttribute("aria-label", "pause");
    });
  }

  function start() {
    settings = JSON.parse(document.getElementById("gf-settings").textContent);
    frame = settings.frames.length - 1;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    setTheme(dark.matches ? "dark" : "light");
    document.querySelector(".gf-theme").addEventListener("click", () => setTheme(theme === "light" ? "dark" : "light"));
    connectSlider();
    const near = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (!entry.isIntersecting) continue;
          near.unobserve(entry.target);
          const figure = figures.find(({ element }) => element === entry.target);
          if (!figure.begun) build(figure);
        }
      },
      { rootMargin: "600px" },
    );
    for (const element of document.querySelectorAll(".gf-figure")) {
      const { number, frames, at } = element.dataset;
      figures.push({ element, number: Number(number), frames: Number(frames), at: at ? JSON.parse(at) : null });
      near.observe(element);
    }
    addEventListener("beforeprint", () => figures.forEach((figure) => figure.begun || build(figure)));
    setFrame(frame);
    document.documentElement.dataset.ready = "true";
  }

  // ---- helpers for components --------------------------------------------------------------------------------------

  // An element with attributes and children; strings among the children become text, never markup.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // A token's text with its line ends, outer spaces and shapeless characters to be seen, as heat_map.visible does it;
  // what is written from right to left is isolated, so that it does not turn the words beside it.
  function visible(text) {
    const inner = text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/\r/g, "␍");
    const spaced = inner.replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
    const shown = spaced.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) =>
      one === "\u200d" && spaced.length > 1 ? one : `⟨${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
    );
    return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(shown) ? `\u2068${shown}\u2069` : shown;
  }

  // A labelled drop-down of options; change(index) is called with what the reader chose.
  function selector(title, options, change) {
    const select = element("select", { "aria-label": title });
    options.forEach((option, index) => select.append(element("option", { value: index }, option)));
    select.addEventListener("change", () => change(Number(select.value)));
    return { element: element("label", { class: "gf-choice" }, element("span", {}, title), select), select };
  }

  return { component: (name, builder) => builders.set(name, builder), start, unpack, element, visible, selector };
})();
