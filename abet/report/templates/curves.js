// Draws the figures of the JSON block into the elements that name them by number.
{
  const NARROW = 640, PAPER = 680, HALF_OF_PAPER = 330; // CSS pixels
  const figures = readJson("figures");
  // Named one by one: plotly's own list grows, and holds a button that sends the figure to its makers
  const config = { displaylogo: false, plotlyServerURL: "", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const plots = /** @type {any[]} */ ([...document.querySelectorAll("[data-figure]")]);

  /** Traces with what the filter hides left out; what the reader switched off in the legend stays so. */
  const tracesFor = (plot, figure) =>
    (plot.data || figure.data).map((trace) => {
      if (!trace.meta) return trace;
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
    const traces = tracesFor(plot, figure);
    // Small plots have no room for buttons beside their legend
    const bar = figure.narrow ? {} : { displayModeBar: false };
    Plotly.react(plot, traces, layoutFor(figure, width, traces), { ...config, ...bar });
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
