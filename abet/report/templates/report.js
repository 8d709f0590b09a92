"use strict";
// Draws the figures of the JSON block into the elements that name them by number.
(() => {
  const NARROW = 640;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  // Named one by one: plotly's own list grows, and holds a button that sends the figure to its makers
  const config = { displaylogo: false, plotlyServerURL: "", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const plots = [...document.querySelectorAll("[data-figure]")];

  const layoutFor = (figure, width) => {
    const layout = structuredClone(figure.layout);
    layout.width = width;
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
    const figure = figures[Number(plot.dataset.figure)];
    // react keeps what the reader switched off in the legend
    // Small plots have no room for buttons beside their legend
    const bar = figure.narrow ? {} : { displayModeBar: false };
    return Plotly.react(plot, plot.data || figure.data, layoutFor(figure, width), { ...config, ...bar });
  };
  const drawAll = () => plots.forEach((plot) => draw(plot, plot.clientWidth));

  drawAll();
  let width = window.innerWidth;
  let timer = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 150);
  });
  // Paper is about 680 CSS pixels wide; a histogram takes half of it
  window.addEventListener("beforeprint", () => plots.forEach((plot) => draw(plot, plot.dataset.half ? 330 : 680)));
  window.addEventListener("afterprint", drawAll);

  for (const picture of document.querySelectorAll("button.zoom")) {
    picture.addEventListener("click", () => {
      const dialog = document.getElementById("zoom");
      const shown = dialog.querySelector("img");
      const source = picture.querySelector("img");
      shown.src = source.src;
      shown.alt = source.alt;
      dialog.querySelector("p").textContent = source.alt;
      dialog.showModal();
    });
  }
  document.getElementById("zoom").addEventListener("click", (event) => event.currentTarget.close());
})();
