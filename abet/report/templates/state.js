"use strict";
// What the page holds and what of it is shown. The scripts of this page are one program in several files by subject.

/**
 * @typedef {{run: number, score: string, threshold: number[], tpr: number[], fpr: number[], precision: number[],
 *   at95: number | null, low: number, high: number, shades: number[]}} Choice  One score of one run that has maps;
 *   level k of its slider flags what scores threshold[k - 1] or more.
 * @typedef {{run: number, score: string, pixels: number, ap: (number | null)[], auroc: (number | null)[], fpr95: (number | null)[],
 *   fp: ([number, number] | null)[], missed: ([number, number] | null)[]}} ImageFigures  `pixels` is the place of its
 *   run's among those of the table.
 * @typedef {{name: string, images: string[], choices: Choice[],
 *   thumbnails: Object<string, string>,
 *   table: {pixels: {id: (number | null)[], ood: (number | null)[]}[], figures: ImageFigures[]}}} DataSet
 * @typedef {{runs: string[], scores: string[], shown: string[], ramp: number[], colours: number[][][],
 *   overview: {shown: number, cells: ([string, string, string, number | null, number] | null)[][][]}, sets: DataSet[]}} Page
 */

/** @param {string} id @returns {any} */
const readJson = (id) => JSON.parse(document.getElementById(id).textContent);

/** @type {Page} */
const page = readJson("page");

/** @type {{runs: Set<number>, scores: Set<string>}} */
const shown = { runs: new Set(page.runs.map((_, place) => place)), scores: new Set(page.shown) };

/** Called after the filter has changed. @type {(() => void)[]} */
const onFilter = [];

/** @param {number} run @param {string} score */
const isShown = (run, score) => shown.runs.has(run) && shown.scores.has(score);

/** @param {{run: number, score: string}} of */
const nameOf = (of) => (page.runs.length > 1 ? `${of.score} · ${page.runs[of.run]}` : of.score);

/** Both ends of a text with at most so many letters. @param {string} text @param {number} most */
const shorten = (text, most) => {
  const letters = [...text];
  const head = Math.ceil((most - 1) / 2);
  return letters.length <= most ? text : `${letters.slice(0, head).join("")}…${letters.slice(head + 1 - most).join("")}`;
};

/** @param {number} fraction @param {number} [digits] */
const percent = (fraction, digits = 2) => (100 * fraction).toFixed(digits);

/** The same element below `parent` by its data-part. @param {Element} parent @param {string} name @returns {any} */
const part = (parent, name) => parent.querySelector(`[data-part="${name}"]`);

/**
 * Fill a select with choices that are shown, keeping the chosen one while it is.
 * @param {HTMLSelectElement} select @param {{run: number, score: string}[]} choices
 */
const fillChoices = (select, choices) => {
  const before = select.value;
  const options = choices.flatMap((choice, place) => (isShown(choice.run, choice.score) ? [[place, choice]] : []));
  select.replaceChildren(...options.map(([place, choice]) => new Option(nameOf(choice), String(place))));
  if (options.some(([place]) => String(place) === before)) select.value = before;
  select.disabled = options.length === 0;
};

{
  const form = document.getElementById("filter");
  const boxes = [...form.querySelectorAll("input")];
  const tell = () => {
    const hidden = page.scores.length - shown.scores.size;
    document.getElementById("hidden-scores").textContent = hidden ? `${hidden} of ${page.scores.length} hidden` : "";
  };
  const read = () => {
    shown.runs = new Set(boxes.filter((box) => box.name === "run" && box.checked).map((box) => Number(box.value)));
    if (page.runs.length === 1) shown.runs.add(0);
    shown.scores = new Set(boxes.filter((box) => box.name === "score" && box.checked).map((box) => box.value));
    tell();
    onFilter.forEach((act) => act());
  };
  for (const box of boxes) if (box.name === "score") box.checked = shown.scores.has(box.value);
  tell();
  form.addEventListener("change", read);
  form.querySelector("[data-all]").addEventListener("click", () => {
    const scores = boxes.filter((box) => box.name === "score");
    const all = scores.every((box) => box.checked);
    scores.forEach((box) => (box.checked = !all));
    read();
  });
}
