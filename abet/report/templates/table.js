// Tables of figures: rows that the filter hides, the best of what is shown, and the overview's choice of figure.
{
  const tables = /** @type {HTMLTableElement[]} */ ([...document.querySelectorAll("table.figures")]);

  /** @param {HTMLTableElement} table */
  const markBest = (table) => {
    /** @type {Map<number, HTMLTableCellElement[]>} */
    const columns = new Map();
    for (const cell of /** @type {NodeListOf<HTMLTableCellElement>} */ (table.querySelectorAll("td[data-better]"))) {
      cell.classList.remove("best");
      if (cell.closest("tr").hidden) continue;
      columns.set(cell.cellIndex, [...(columns.get(cell.cellIndex) || []), cell]);
    }
    for (const cells of columns.values()) {
      if (cells.length < 2) continue; // a single value is not the best of anything
      const values = cells.map((cell) => Number(cell.dataset.value));
      const best = Number(cells[0].dataset.better) > 0 ? Math.max(...values) : Math.min(...values);
      cells.forEach((cell, place) => cell.classList.toggle("best", values[place] === best));
    }
  };
  /** @param {HTMLTableElement} table */
  const filterRows = (table) => {
    let before = null;
    for (const row of /** @type {NodeListOf<HTMLTableRowElement>} */ (table.querySelectorAll("tr[data-score]"))) {
      const other = row.dataset.minus === undefined || shown.scores.has(row.dataset.minus);
      row.hidden = !(isShown(Number(row.dataset.run), row.dataset.score) && other);
      if (row.hidden) continue;
      row.classList.toggle("first", row.dataset.run !== before);
      before = row.dataset.run;
    }
  };
  /** Footnotes of rows that are shown. @param {HTMLTableElement} table */
  const filterNotes = (table) => {
    const list = document.querySelector(`ol.notes[data-table="${table.id}"]`);
    if (!list) return;
    const marks = [...table.querySelectorAll("tbody tr:not([hidden]) sup")].map((mark) => mark.textContent);
    const notes = /** @type {HTMLLIElement[]} */ ([...list.children]);
    for (const note of notes) note.hidden = !marks.includes(String(note.value));
  };
  const update = () => tables.forEach((table) => (filterRows(table), filterNotes(table), markBest(table)));

  /** @param {HTMLTableCellElement} cell @param {any} content */
  const fill = (cell, content) => {
    const [text, spread, detail, value, better] = content || ["", "", "", null, 0];
    cell.textContent = text;
    cell.title = detail;
    cell.classList.toggle("none", value === null && text === "n/a");
    delete cell.dataset.better;
    if (value !== null && better) [cell.dataset.better, cell.dataset.value] = [String(better), String(value)];
    if (!spread) return;
    const half = document.createElement("span");
    half.className = "spread";
    half.textContent = spread;
    cell.append(half);
  };
  const select = /** @type {HTMLSelectElement | null} */ (document.getElementById("overview-figure"));
  if (select) {
    select.addEventListener("change", () => {
      const rows = document.querySelectorAll("#overview-table tbody tr");
      rows.forEach((row, place) => {
        const cells = page.overview.cells[Number(select.value)][place];
        row.querySelectorAll("td").forEach((cell, set) => (cell.classList.remove("best"), fill(cell, cells[set])));
      });
      update();
    });
  }
  update();
  onFilter.push(update);
}
