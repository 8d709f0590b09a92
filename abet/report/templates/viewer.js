// The image viewer of a data set: photograph, heat map or classes under the mask at a threshold that a slider moves.

/** Show an image in a set's viewer; by set. @type {Map<number, (image: number, reveal: boolean) => void>} */
const showImage = new Map();
/** The order in which a set's images are walked through; by set. @type {Map<number, number[]>} */
const imageOrder = new Map();
/** Called with (set, image) when a viewer has changed its image. @type {((set: number, image: number) => void)[]} */
const onImage = [];

/** @param {HTMLElement} viewer */
const startViewer = (viewer) => {
  const number = Number(viewer.dataset.set);
  const set = page.sets[number];
  const images = Object.keys(set.thumbnails).map(Number);
  const sides = /** @type {HTMLElement[]} */ ([...viewer.querySelectorAll(".panel")]).map((element) => ({ element, level: 0, choice: -1 }));
  const state = { image: images[0], base: "photo", ticket: 0 };
  /** Of the shown image alone: a few hundred kilobytes. @type {any} */
  let loaded = null;
  imageOrder.set(number, images);

  const isTwo = () => part(viewer, "two").checked;
  const visible = () => (isTwo() ? sides : sides.slice(0, 1));
  const order = () => imageOrder.get(number).filter((image) => images.includes(image));

  const load = async (image) => {
    const ticket = ++state.ticket;
    const block = readJson(`image-${number}-${image}`);
    const [width, height] = block.size;
    const labels = [], maps = {}, classes = {};
    for (const map of block.labels) labels.push(await readCodes(map, width, height));
    for (const [place, map] of Object.entries(block.maps)) maps[place] = await readCodes(map, width, height);
    for (const [run, map] of Object.entries(block.classes)) classes[run] = await readCodes(map, width, height);
    if (ticket !== state.ticket) return; // another image was asked for meanwhile
    // Nothing is drawn from a picture that the browser altered: a wrong mask looks like any other
    const altered = [...labels, ...Object.values(maps), ...Object.values(classes)].includes(null);
    loaded = altered ? { maps: {}, classes: {}, labels: [new Uint8Array(width * height)] } : { maps, classes, labels };
    Object.assign(loaded, { image, block, width, height, altered });
    part(viewer, "altered").hidden = !altered;
    drawAll();
    viewer.dataset.shown = set.images[image];
  };

  /** As the side's run reads it: another may go by another definition of OOD. Null where that is not known. */
  const labelOf = (side) => {
    const { block, labels } = loaded, choice = set.choices[side.choice];
    const place = choice ? block.label_of[choice.run] : labels.length === 1 ? 0 : undefined;
    return labels[place] ?? null;
  };
  const drawBase = (side) => {
    const { width, height, block } = loaded;
    const choice = set.choices[side.choice];
    const photo = part(side.element, "photo"), canvas = part(side.element, "base");
    photo.src = block.photo;
    const codes = loaded.maps[side.choice], classes = choice && loaded.classes[choice.run];
    const colour = {
      photo: null,
      heat: codes && ((x, y, place) => page.ramp.slice(3 * choice.shades[codes[place]], 3 * choice.shades[codes[place]] + 3)),
      classes: classes && ((x, y, place) => page.colours[choice.run][classes[place]] || [0, 0, 0]),
    }[state.base];
    canvas.hidden = !colour;
    if (colour) paint(canvas, width, height, colour);
    canvas.style.opacity = state.base === "classes" ? "0.6" : "1";
  };

  const drawMask = (side) => {
    const { width, height } = loaded, label = labelOf(side);
    const codes = loaded.maps[side.choice], choice = set.choices[side.choice];
    const canvas = part(side.element, "mask");
    const known = Boolean(codes && choice);
    canvas.hidden = !known || !part(viewer, "show-mask").checked;
    side.element.classList.toggle("unknown", !known);
    if (!known) return describe(side, null);
    const { kinds, counts } = judge(codes, label, side.level);
    paintMask(canvas, width, height, kinds);
    describe(side, counts);
  };

  const describe = (side, counts) => {
    const choice = set.choices[side.choice];
    const say = (name, text) => (part(side.element, name).textContent = text);
    const input = part(side.element, "level");
    input.disabled = !counts;
    if (!counts) {
      say("threshold", "");
      say("pooled", "");
      const none = loaded.altered ? "not known: see above" : "no map of this score was kept of this image";
      say("counts", choice ? none : "no score is shown that has maps");
      part(side.element, "stage").setAttribute("aria-label", set.images[state.image]);
      return;
    }
    const at = side.level - 1;
    const share = (count, whole) => (whole ? ` (${percent(count / whole, 1)} %)` : "");
    const raw = choice.threshold[at];
    const found = `TPR ${percent(choice.tpr[at])} %, FPR ${percent(choice.fpr[at])} %, precision ${percent(choice.precision[at])} %`;
    const of = (count, whole) => `${count.toLocaleString("en")} of ${whole.toLocaleString("en")}`;
    const alarms = `${of(counts.falseAlarm, counts.id)} ID pixels flagged${share(counts.falseAlarm, counts.id)}`;
    const misses = `${of(counts.missed, counts.ood)} OOD pixels missed${share(counts.missed, counts.ood)}`;
    const here = `${alarms}\n${misses}`;
    say("threshold", `${raw.toPrecision(5)}${at === choice.at95 ? " (95 % TPR)" : ""}`);
    part(side.element, "threshold").title = String(raw);
    say("pooled", found);
    say("counts", here);
    input.setAttribute("aria-valuetext", `raw score ${raw.toPrecision(5)}, ${found}`);
    Object.assign(side.element.dataset, { falseAlarms: counts.falseAlarm, missed: counts.missed, flagged: counts.flagged, level: side.level });
    part(side.element, "stage").setAttribute("aria-label", `${set.images[state.image]}, ${nameOf(choice)}: ${alarms}, ${misses}`);
  };

  const drawRamp = () => {
    const choice = set.choices[sides[0].choice];
    const ramp = part(viewer, "ramp");
    ramp.hidden = state.base !== "heat" || !choice || isTwo();
    if (ramp.hidden) return;
    paint(part(viewer, "bar"), 256, 1, (x) => page.ramp.slice(3 * x, 3 * x + 3));
    part(viewer, "low").textContent = choice.low.toPrecision(4);
    part(viewer, "high").textContent = choice.high.toPrecision(4);
  };

  const drawAll = () => {
    if (!loaded) return;
    for (const side of visible()) {
      drawBase(side);
      const rim = part(side.element, "rim"), label = labelOf(side);
      rim.hidden = !label || !part(viewer, "show-rim").checked;
      if (label) paintRim(rim, loaded.width, loaded.height, label);
      drawMask(side);
    }
    drawRamp();
    const [width, height] = loaded.block.full;
    const smaller = width * height > loaded.width * loaded.height ? `, maps of ${loaded.width} x ${loaded.height}` : "";
    part(viewer, "title").textContent = `${set.images[loaded.image]} · ${width} x ${height}${smaller}`;
  };

  /** @param {any} side @param {number} level */
  const setLevel = (side, level) => {
    const choice = set.choices[side.choice];
    if (!choice) return;
    side.level = Math.min(Math.max(level, 1), choice.threshold.length);
    part(side.element, "level").value = String(side.level);
    if (loaded) drawMask(side);
  };
  /** Of several levels with the same TPR the highest, which has the fewest false alarms. */
  const nearestTpr = (choice, tpr) =>
    choice.tpr.reduce((best, value, place) => (Math.abs(value - tpr) <= Math.abs(choice.tpr[best] - tpr) ? place : best), 0) + 1;
  /** The reader moves a threshold: the other picture follows at the same share of OOD found. */
  const moveLevel = (side, level) => {
    setLevel(side, level);
    const other = sides.find((each) => each !== side);
    const from = set.choices[side.choice], to = set.choices[other.choice];
    if (isTwo() && part(viewer, "linked").checked && from && to) setLevel(other, nearestTpr(to, from.tpr[side.level - 1]));
  };
  const choose = (side, place) => {
    const before = set.choices[side.choice], choice = set.choices[place];
    side.choice = choice ? place : -1;
    if (choice) {
      const input = part(side.element, "level");
      input.max = String(choice.threshold.length);
      const tpr = before ? before.tpr[side.level - 1] : null;
      setLevel(side, tpr === null ? (choice.at95 ?? Math.floor(choice.threshold.length / 2)) + 1 : nearestTpr(choice, tpr));
    }
    drawAll();
  };
  const at95 = () => visible().forEach((side) => {
    const choice = set.choices[side.choice];
    if (choice && choice.at95 !== null) setLevel(side, choice.at95 + 1);
  });
  const show = (image, reveal) => {
    if (!images.includes(image)) return;
    state.image = image;
    part(viewer, "image").value = String(image);
    onImage.forEach((act) => act(number, image));
    if (reveal) viewer.scrollIntoView({ block: "start" }), viewer.focus({ preventScroll: true });
    return load(image);
  };
  const step = (by) => {
    const walk = order();
    const place = walk.indexOf(state.image) + by;
    if (place >= 0 && place < walk.length) show(walk[place], false);
  };
  const setBase = (kind) => {
    state.base = kind;
    for (const radio of viewer.querySelectorAll("input[type=radio]")) radio.checked = radio.value === kind;
    drawAll();
  };
  const toggle = (name) => {
    part(viewer, name).checked = !part(viewer, name).checked;
    arrange();
  };
  const arrange = () => {
    sides[1].element.hidden = !isTwo();
    part(viewer, "linked").closest("label").hidden = !isTwo();
    viewer.classList.toggle("two", isTwo());
    if (isTwo()) moveLevel(sides[0], sides[0].level);
    drawAll();
  };
  const help = () => /** @type {HTMLDialogElement} */ (document.getElementById("keys")).showModal();

  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: (event, side) => moveLevel(side, side.level + (event.shiftKey ? 10 : 1)),
    ArrowDown: (event, side) => moveLevel(side, side.level - (event.shiftKey ? 10 : 1)),
    9: at95,
    p: () => setBase("photo"),
    h: () => setBase("heat"),
    c: () => setBase("classes"),
    m: () => toggle("show-mask"),
    l: () => toggle("show-rim"),
    s: () => toggle("two"),
    "?": help,
  };
  viewer.addEventListener("keydown", (event) => {
    const own = /** @type {HTMLElement} */ (event.target);
    const arrow = event.key.startsWith("Arrow");
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    // A list, a choice and a slider have arrow keys of their own; ten stops are ours
    const tenStops = event.shiftKey && ["ArrowUp", "ArrowDown"].includes(event.key) && own.matches("input[type=range]");
    if (own.matches("select") || (arrow && !tenStops && own.matches("input[type=range], input[type=radio]"))) return;
    event.preventDefault();
    keys[event.key](event, (tenStops && sides.find((side) => side.element.contains(own))) || sides[0]);
    if (arrow && loaded) part(viewer, "status").textContent = `${set.images[state.image]}: ${part(sides[0].element, "pooled").textContent}`;
  });
  for (const side of sides) {
    part(side.element, "level").addEventListener("input", (event) => moveLevel(side, Number(event.target.value)));
    part(side.element, "choice").addEventListener("change", (event) => choose(side, Number(event.target.value)));
  }
  viewer.addEventListener("change", (event) => {
    const own = /** @type {any} */ (event.target);
    if (own.type === "radio") setBase(own.value);
    if (own.type === "checkbox") arrange();
    if (own === part(viewer, "image")) show(Number(own.value), false);
  });
  const acts = { previous: () => step(-1), next: () => step(1), help };
  for (const button of viewer.querySelectorAll("[data-do]")) button.addEventListener("click", () => acts[button.dataset.do]());

  /** How many maps there are to choose from, and that the filter hides others. */
  const tellMaps = () => {
    const all = set.choices.length, seen = set.choices.filter((choice) => isShown(choice.run, choice.score)).length;
    const maps = `${all} score map${all === 1 ? "" : "s"}`;
    const some = `${seen || "none"} of ${maps} (${all - seen} hidden by the filter)`;
    document.getElementById(`maps-${number}`).textContent = seen === all ? maps : some;
  };
  const refill = () => {
    tellMaps();
    sides.forEach((side, place) => {
      const select = part(side.element, "choice");
      fillChoices(select, set.choices);
      // Two pictures of the same would show nothing
      const another = place && Number(select.value) === sides[0].choice && [...select.options].find((option) => option.value !== select.value);
      if (another) select.value = another.value;
      const now = select.options.length ? Number(select.value) : -1;
      if (now !== side.choice) choose(side, now);
    });
    drawAll();
  };
  part(viewer, "image").replaceChildren(...images.map((image) => new Option(set.images[image], String(image))));
  refill();
  onFilter.push(refill);
  showImage.set(number, show);
  // One image is decoded when nothing else is to do: it is there when the reader comes, or prints. Where the table says
  // which image is worst, that one
  const first = () => loaded || state.ticket || show(order()[0], false);
  if (window.requestIdleCallback) requestIdleCallback(first, { timeout: 1000 });
  else setTimeout(first, 200);
  window.addEventListener("beforeprint", () => drawAll());
};
{
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
}
for (const viewer of document.querySelectorAll("section.viewer")) startViewer(/** @type {HTMLElement} */ (viewer));
