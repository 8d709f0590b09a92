// Draws the figures of the JSON block into the elements that name them by number.
{
  const NARROW = 640, PAPER = 680, HALF_OF_PAPER = 330; // CSS pixels
  const figures = readJson("figures");
  // Named one by one: plotly's own list grows, and holds a button that sends the figure to its makers
  const config = { displaylogo: false, plotlyServerURL: "", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const plots = /** @type {any[]} */ ([...document.querySelectorAll("[data-figure]")]);

  const LETTER = 7.4, MARGINS = 88, BESIDE_NAME = 77; // CSS pixels of a letter, and of what stands beside a legend's names
  /** Of a run that is cut short like another, its place tells which: the filter has them in order, with their dashes. */
  const shortRun = (run, most) => {
    const cut = page.runs.map((name) => shorten(name, most));
    const alone = cut.indexOf(cut[run]) === cut.lastIndexOf(cut[run]);
    return alone ? cut[run] : `${shorten(page.runs[run], Math.max(most - 4, 3))} (${run + 1})`;
  };
  /** A name for the legend, no longer than fits; the score is whole, of a long run both ends are. Plotly reads tags. */
  const nameFor = (figure, trace, width) => {
    const { run, score } = trace.meta;
    const columns = width < NARROW ? 1 : 2;
    const most = Math.floor(((width - MARGINS) / columns - BESIDE_NAME) / LETTER);
    const mostOfRun = Math.max(most - score.length - 3, 7);
    const name = figure.several ? `${score} · ${shortRun(run, mostOfRun)}` : score;
    return name.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  };
  /** Traces with what the filter hides left out; what the reader switched off in the legend stays so. */
  const tracesFor = (plot, figure, width) =>
    (plot.data || figure.data).map((drawn) => {
      if (!drawn.meta) return drawn;
      const trace = { ...drawn, name: nameFor(figure, drawn, width) };
      const wanted = isShown(trace.meta.run, trace.meta.score);
      if (!wanted) return { ...trace, visible: false };
      return trace.visible === false ? { ...trace, visible: true } : trace;
    });
  const layoutFor = (figure, width, traces) => {
    const layout = structuredClone(figure.layout);
    layout.width = width;
    if (figure.line_height) layout.height += figure.line_height * traces.filter((t) => t.visible !== false && t.showlegend !== false).length;
    if (figure.narrow && width < NARROW) {
      layout.height += 370;
      for (const [path, value] of Object.entries(figure.narrow)) {
        const [axis, key] = path.split(".");
        if (key) layout[axis][key] = value;
      }
      layout.legend.y = -0.1;
    }
    return layout;
  };
  const draw = (plot, width) => {
    if (!width) return; // in closed details, or filtered out: drawn when it is opened
    const figure = figures[Number(plot.dataset.figure)];
    const traces = tracesFor(plot, figure, width);
    const layout = layoutFor(figure, width, traces);
    // At another size Plotly would keep the old one's place for the legend, which may be on the lines
    const resized = ["width", "height"].some((side) => plot.layout && plot.layout[side] !== layout[side]);
    if (resized) Plotly.purge(plot);
    // Small plots have no room for buttons beside their legend
    const bar = figure.narrow ? {} : { displayModeBar: false };
    Plotly.react(plot, traces, layout, { ...config, ...bar });
  };
  let printing = false;
  const drawAll = () =>
    plots.forEach((plot) => {
      const paper = plot.dataset.half ? HALF_OF_PAPER : PAPER;
      draw(plot, plot.clientWidth && (printing ? paper : plot.clientWidth));
    });

  const hide = () => {
    for (const figure of /** @type {HTMLElement[]} */ ([...document.querySelectorAll("figure[data-score]")])) {
      figure.hidden = !isShown(Number(figure.dataset.run), figure.dataset.score);
    }
    // Plotly places the axes of a plot without a visible trace at NaN
    for (const plot of plots) {
      const nothing = /** @type {HTMLElement | null} */ (plot.parentElement.querySelector(`[data-without="${plot.dataset.figure}"]`));
      plot.hidden = !figures[Number(plot.dataset.figure)].data.some(({ meta }) => !meta || isShown(meta.run, meta.score));
      if (nothing) nothing.hidden = !plot.hidden;
    }
  };
  hide();
  drawAll();
  onFilter.push(hide, drawAll);
  for (const details of document.querySelectorAll("details.drawn")) details.addEventListener("toggle", drawAll);
  let width = window.innerWidth;
  let timer = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 150);
  });
  // What is closed on screen is open on paper. Opening tells of itself later, and a sheet may come with a resize: until
  // the printing ends, whoever draws draws for paper
  let closed = [];
  window.addEventListener("beforeprint", () => {
    if (!printing) closed = [...document.querySelectorAll("details:not([open])")];
    printing = true;
    for (const details of closed) details.open = true;
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    for (const details of closed) details.open = false;
    drawAll();
  });
}
