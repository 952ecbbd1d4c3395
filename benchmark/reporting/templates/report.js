"use strict";
document.documentElement.classList.add("js");

/* ---- tables: sort within each section ---- */

const valueOf = (row, column) => {
  const cell = row.cells[column];
  const value = parseFloat(cell.dataset.value);
  return Number.isNaN(value) ? (cell.dataset.text ?? null) : value;
};

function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
}

function sortBy(head) {
  const table = head.closest("table");
  const now = head.getAttribute("aria-sort");
  const flipped = { ascending: "descending", descending: "ascending" };
  const order = flipped[now] ?? head.dataset.first;
  for (const other of table.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    rows.sort((a, b) => compare(valueOf(a, head.cellIndex), valueOf(b, head.cellIndex), sign));
    body.append(...rows);
  }
}

for (const button of document.querySelectorAll("thead [aria-sort] button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

/* ---- choosers: one of many prepared figures or tables is shown ---- */

for (const chooser of document.querySelectorAll("[data-chooser]")) {
  const inputs = [...chooser.querySelectorAll("select, input[type=radio]")];
  // Names of radio buttons are one group in the whole page; each block has its own.
  const group = `-${[...document.querySelectorAll("[data-chooser]")].indexOf(chooser)}`;
  for (const input of inputs) if (input.type === "radio") input.name += group;
  const show = () => {
    const chosen = inputs.filter((input) => input.type !== "radio" || input.checked);
    for (const item of chooser.querySelectorAll("[data-item]")) {
      const fits = chosen.every(({ name, value }) => [undefined, value].includes(item.dataset[name.replace(group, "")]));
      item.toggleAttribute("hidden", !fits); // parts of drawings have no property of that name
    }
  };
  for (const input of inputs) input.addEventListener("change", show);
  show();
}

/* ---- rows: those that are chosen and found, in every table and among the pictures of a block ---- */

for (const tools of document.querySelectorAll(".tools")) {
  const block = tools.closest("section");
  const boxes = [...tools.querySelectorAll("[data-shows]")];
  const search = tools.querySelector("[data-role=search]");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const found = (box) => words.every((word) => box.dataset.text.toLowerCase().includes(word));
    const shown = new Set(boxes.filter((box) => box.checked && found(box)).map((box) => box.dataset.shows));
    for (const part of block.querySelectorAll("[data-row]")) part.toggleAttribute("data-off", !shown.has(part.dataset.row));
    for (const body of block.querySelectorAll("tbody")) body.toggleAttribute("data-off", !body.querySelector("tr:not(.section):not([data-off])"));
    tools.querySelector("[data-role=count]").textContent = `${shown.size} of ${boxes.length}`;
  };
  for (const input of [search, ...boxes]) input.addEventListener("input", show);
  const folds = [...block.querySelectorAll("details.fold")];
  const button = tools.querySelector("[data-role=open]");
  button.addEventListener("click", () => {
    const open = folds.some((fold) => !fold.open);
    for (const fold of folds) fold.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
}

/* ---- what a link points at is opened, and for printing every part is ---- */

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details.fold")) target.open = true;
}
addEventListener("hashchange", reveal);
reveal();
for (const link of document.querySelectorAll(".contents a")) link.addEventListener("click", () => setTimeout(reveal));
const opened = [];
addEventListener("beforeprint", () => {
  opened.push(...document.querySelectorAll("details.fold:not([open], [id$=-conditions])")); // those of every run stay
  for (const fold of opened) fold.open = true;
  for (const root of document.querySelectorAll(".panel")) root.panel.update();
});
addEventListener("afterprint", () => { for (const fold of opened.splice(0)) fold.open = false; });

/* ---- crops: one view for all tiles of an image ---- */

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const MAX_ZOOM = 32;

class Panel {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".tiles");
    this.bar = root.querySelector(".scalebar");
    this.tiles = [...root.querySelectorAll(".tile")].map((figure) => this.prepare(figure));
    this.truth = this.tiles.find((tile) => tile.kind === "hr");
    this.region = 0;
    this.zoom = 1;
    this.x = this.y = 0.5;
    this.blink = false;
    this.pointers = new Map();
    this.listen();
    this.update();
  }

  prepare(figure) {
    const images = [...figure.querySelectorAll("img:not(.tint)")];
    const tints = [...figure.querySelectorAll("img.tint")];
    const views = [...figure.querySelectorAll(".view")].map((view) => {
      const canvas = view.appendChild(document.createElement("canvas"));
      const cursor = view.appendChild(document.createElement("i"));
      cursor.hidden = true;
      return { canvas, cursor, error: view.classList.contains("error"), map: view.classList.contains("map") };
    });
    for (const image of [...images, ...tints]) image.addEventListener("load", () => this.update());
    return { figure, images, tints, views, kind: figure.dataset.kind, captions: [...figure.querySelectorAll("[data-region]:not(img)")] };
  }

  listen() {
    const { grid, root } = this;
    for (const input of root.querySelectorAll("input[data-role=region]")) {
      input.addEventListener("change", () => { this.region = Number(input.value); this.reset(); });
    }
    for (const input of root.querySelectorAll("input[data-role=mode]")) {
      input.addEventListener("change", () => { grid.dataset.mode = input.value; this.update(); });
    }
    const [layout, ...sides] = ["layout", "first", "second"].map((role) => root.querySelector(`[data-role=${role}]`));
    sides[0].value = this.tiles.findIndex((tile) => tile.kind === "hr");
    sides[1].value = Math.max(this.tiles.findIndex((tile) => tile.kind === "sr"), 0);
    const arrange = () => {
      const count = { all: 0, two: 2, one: 1 }[layout.value];
      const chosen = sides.slice(0, count).map((side) => this.tiles[side.value].figure);
      sides.forEach((side, index) => { side.parentElement.hidden = index >= count; });
      grid.dataset.layout = layout.value;
      for (const { figure } of this.tiles) figure.toggleAttribute("data-out", count > 0 && !chosen.includes(figure));
      chosen.forEach((figure, index) => figure.style.setProperty("order", index));
      this.update();
    };
    for (const select of [layout, ...sides]) select.addEventListener("change", arrange);
    const actions = { in: () => this.scale(1.5), out: () => this.scale(1 / 1.5), reset: () => this.reset() };
    for (const [name, action] of Object.entries(actions)) {
      root.querySelector(`[data-action=${name}]`).addEventListener("click", action);
    }
    const hold = root.querySelector("[data-action=blink]");
    for (const type of ["pointerdown", "pointerup", "pointerleave", "pointercancel", "blur"]) {
      hold.addEventListener(type, () => this.show(type === "pointerdown"));
    }
    for (const target of [hold, grid]) {
      for (const type of ["keydown", "keyup"]) target.addEventListener(type, (event) => this.key(event, target === hold));
    }
    grid.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    grid.addEventListener("dblclick", (event) => this.scale(2, this.position(event)));
    grid.addEventListener("pointerdown", (event) => this.press(event));
    grid.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"]) grid.addEventListener(type, (event) => this.pointers.delete(event.pointerId));
    grid.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.update()).observe(grid);
  }

  /* Where an event lies in its tile, 0 to 1 of the visible part; null beside the tiles. */
  position(event) {
    const canvas = event.target.closest?.(".view")?.querySelector("canvas");
    if (!canvas) return null;
    const box = canvas.getBoundingClientRect();
    return { u: (event.clientX - box.left) / box.width, v: (event.clientY - box.top) / box.height, width: box.width };
  }

  scale(factor, at = { u: 0.5, v: 0.5 }) {
    if (!at) return;
    const before = 1 / this.zoom;
    this.zoom = clamp(this.zoom * factor, 1, MAX_ZOOM);
    const change = before - 1 / this.zoom;
    this.place(this.x + (at.u - 0.5) * change, this.y + (at.v - 0.5) * change);
  }

  place(x, y) {
    const half = 0.5 / this.zoom;
    this.x = clamp(x, half, 1 - half);
    this.y = clamp(y, half, 1 - half);
    this.update();
  }

  reset() { this.zoom = 1; this.place(0.5, 0.5); }

  show(blink) {
    if (blink !== this.blink) { this.blink = blink; this.update(); }
  }

  key(event, onButton) {
    const down = event.type === "keydown";
    if (event.key === "h" || (onButton && event.key === " ")) this.show(down);
    const step = 0.15 / this.zoom;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };
    if (!down || onButton || event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key] && this.zoom > 1) this.place(this.x + moves[event.key][0], this.y + moves[event.key][1]);
    else if (zooms[event.key]) this.scale(zooms[event.key]);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  /* The page keeps scrolling until the pictures have been clicked. */
  wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.grid) return;
    event.preventDefault();
    this.scale(Math.exp(-clamp(event.deltaY, -120, 120) / 300), this.position(event));
  }

  press(event) {
    this.grid.focus({ preventScroll: true });
    if (this.position(event)) this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  move(event) {
    const at = this.position(event);
    const last = this.pointers.get(event.pointerId);
    if (last && at) {
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      if (others.length) this.pinch(event, last, others[0], at);
      else this.place(this.x - (event.clientX - last.x) / at.width / this.zoom, this.y - (event.clientY - last.y) / at.width / this.zoom);
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    }
    this.point(at);
  }

  pinch(event, last, other, at) {
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    this.scale(distance({ x: event.clientX, y: event.clientY }) / distance(last), at);
  }

  point(at) {
    for (const { canvas, cursor } of this.tiles.flatMap((tile) => tile.views)) {
      cursor.hidden = !at || !canvas.clientWidth;
      if (at) cursor.style.transform = `translate(${at.u * canvas.clientWidth}px, ${at.v * canvas.clientHeight}px)`;
    }
  }

  update() {
    this.grid.style.touchAction = this.zoom > 1 ? "none" : "pan-y";
    this.root.querySelector("[data-role=zoom]").textContent = `${this.zoom.toFixed(1)}×`;
    for (const rect of this.root.querySelectorAll(".overview rect")) rect.classList.toggle("chosen", Number(rect.dataset.region) === this.region);
    if (this.bar) this.measure();
    for (const tile of this.tiles) {
      for (const caption of tile.captions) caption.hidden = Number(caption.dataset.region) !== this.region;
      for (const view of tile.views) this.draw(tile, view);
    }
  }

  /* The longest bar that fits what is seen; its drawing is 256 units wide. */
  measure() {
    const { bars, side } = this.bar.dataset;
    const unit = 256 * this.zoom / Number(side);
    const all = JSON.parse(bars);
    const [pixels, words] = all.find(([length]) => length * unit <= 104) ?? all.at(-1);
    const rect = this.bar.querySelector("rect");
    rect.setAttribute("width", pixels * unit);
    rect.setAttribute("x", 246 - pixels * unit);
    this.bar.querySelector("text").textContent = words;
  }

  draw(tile, { canvas, error, map }) {
    const width = Math.round(canvas.clientWidth * devicePixelRatio);
    if (!width) return;
    if (canvas.width !== width) canvas.width = canvas.height = width;
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = "copy";
    this.paint(context, this.blink && !error ? this.truth.images : tile.images);
    if (error) {
      context.globalCompositeOperation = "difference";
      this.paint(context, this.truth.images);
    } else if (map && !this.blink) {
      context.globalCompositeOperation = "source-over";
      this.paint(context, tile.tints);
    }
  }

  paint(context, images) {
    const image = images[this.region];
    if (!image.complete || !image.naturalWidth) return;
    const side = image.naturalWidth / this.zoom;
    const [left, top] = [this.x * image.naturalWidth - side / 2, this.y * image.naturalHeight - side / 2];
    const size = context.canvas.width;
    context.imageSmoothingEnabled = false;
    context.drawImage(image, left, top, side, side, 0, 0, size, size);
  }
}

for (const root of document.querySelectorAll(".panel")) root.panel = new Panel(root);
