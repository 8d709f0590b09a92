// The table of a set's images: sorted by any column, opens the viewer.

/** @param {HTMLElement} element */
const startImageTable = (element) => {
  const number = Number(element.dataset.set);
  const set = page.sets[number];
  const select = /** @type {HTMLSelectElement | null} */ (part(element, "choice"));
  const body = element.querySelector("tbody");
  const headings = /** @type {HTMLElement[]} */ ([...element.querySelectorAll("th[data-sort]")]);
  let current = -1;
  const sort = { key: select ? "share" : "name", down: Boolean(select) };

  const figures = () => (select && select.value !== "" ? set.table.figures[Number(select.value)] : null);
  /** ID and OOD pixels as the run of these figures counted them; null where no figures say which run is meant. */
  const pixels = () => set.table.pixels[set.table.pixels.length === 1 ? 0 : figures()?.pixels] ?? null;
  /** What a column sorts by; of a range its upper end. @param {string} key @param {number} image @returns {number | string | null} */
  const rank = (key, image) => {
    const found = figures(), counted = pixels();
    if (key === "name") return set.images[image];
    if (key === "ood") return counted && counted.ood[image];
    if (!found) return null;
    if (key === "fp" || key === "missed") return found[key][image] ? found[key][image][1] : null;
    if (key === "share") return found.fp[image] && counted.id[image] ? found.fp[image][1] / counted.id[image] : null;
    return found[key][image];
  };
  const range = (low, high) => (low === high ? low : `${low} – ${high}`);
  /** A name that may break behind its slashes and underscores. @param {string} name */
  const breakable = (name) => {
    const made = document.createElement("span");
    for (const piece of name.split(/(?<=[/_])/)) made.append(piece, document.createElement("wbr"));
    return made;
  };
  /** @param {string} key @param {number} image */
  const text = (key, image) => {
    const found = figures(), counted = pixels(), count = (value) => value.toLocaleString("en");
    if (key === "ood") return counted && counted.ood[image] !== null ? count(counted.ood[image]) : "";
    if (!found) return "";
    if (key === "share") {
      const ends = found.fp[image], whole = counted.id[image];
      return ends && whole ? range(percent(ends[0] / whole), percent(ends[1] / whole)) : "";
    }
    const value = found[key][image];
    if (value === null) return "";
    return Array.isArray(value) ? range(count(value[0]), count(value[1])) : percent(value);
  };

  /** @param {number} image */
  const nameCell = (image) => {
    const cell = document.createElement("th");
    [cell.scope, cell.className] = ["row", "left"];
    const thumbnail = set.thumbnails[image];
    if (!thumbnail) return cell.append(breakable(set.images[image])), cell;
    const button = document.createElement("button"), picture = new Image();
    button.type = "button";
    button.dataset.image = String(image);
    [picture.loading, picture.alt, picture.src] = ["lazy", "", thumbnail];
    button.append(picture, breakable(set.images[image]));
    button.addEventListener("click", () => showImage.get(number)(image, true));
    cell.append(button);
    return cell;
  };
  const row = (image) => {
    const made = document.createElement("tr");
    made.dataset.image = String(image);
    made.append(nameCell(image));
    for (const { dataset } of headings.slice(1)) made.insertCell().textContent = text(dataset.sort, image);
    return made;
  };
  const compare = (one, other) => {
    const [a, b] = [rank(sort.key, one), rank(sort.key, other)];
    if (a === null || b === null) return (a === null ? 1 : 0) - (b === null ? 1 : 0); // what is not known stands last
    const order = a < b ? -1 : a > b ? 1 : 0;
    return (sort.down ? -order : order) || one - other;
  };
  const mark = (of, image) => {
    if (of !== number) return;
    current = image;
    for (const each of body.rows) each.classList.toggle("current", each.dataset.image === String(image));
  };
  const draw = () => {
    const order = set.images.map((_, image) => image).sort(compare);
    imageOrder.set(number, order);
    body.replaceChildren(...order.map(row));
    mark(number, current);
    for (const heading of headings) {
      const chosen = heading.dataset.sort === sort.key;
      heading.setAttribute("aria-sort", chosen ? (sort.down ? "descending" : "ascending") : "none");
    }
  };
  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      const key = heading.dataset.sort;
      [sort.down, sort.key] = [sort.key === key ? !sort.down : key !== "name", key];
      draw();
    });
  }
  onImage.push(mark);
  const refill = () => {
    if (select) fillChoices(select, set.table.figures);
    draw();
  };
  if (select) select.addEventListener("change", draw);
  refill();
  onFilter.push(refill);
};
for (const table of document.querySelectorAll(".imagetable")) startImageTable(/** @type {HTMLElement} */ (table));
