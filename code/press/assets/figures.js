// Draws the book's interactive figures: one local bundle, loaded when the first figure comes near the view.
// Each slider is a native <input type="range">: it works by keyboard and says its value to a screen reader.
(() => {
  "use strict";
  const base = new URL(".", document.currentScript.src);
  const root = document.documentElement;
  let library;
  const plotly = () =>
    (library ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL("plotly.min.js", base);
      script.onload = () => done(window.Plotly);
      script.onerror = failed;
      document.head.append(script);
    }));

  const colours = () => {
    const style = getComputedStyle(root);
    const read = (name) => style.getPropertyValue(name).trim();
    return { ink: read("--pst-color-text-base"), line: read("--pst-color-border") };
  };
  const themed = () => {
    const { ink, line } = colours();
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": ink,
      "xaxis.gridcolor": line,
      "yaxis.gridcolor": line,
      "xaxis.linecolor": line,
      "yaxis.linecolor": line,
    };
  };

  async function draw(box) {
    if (box.dataset.state) return box.drawn;
    box.dataset.state = "loading";
    box.drawn = (async () => {
      const library = await plotly();
      const figure = JSON.parse(box.querySelector("script").textContent);
      const [slider] = figure.layout.sliders ?? [];
      delete figure.layout.sliders;
      delete figure.layout.updatemenus;
      const plot = document.createElement("div");
      plot.style.height = `${box.dataset.height}px`;
      box.append(plot);
      const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
      await library.newPlot(plot, { data: figure.data, layout: figure.layout, frames: figure.frames, config });
      await library.relayout(plot, themed());
      box.plot = plot;
      if (slider) box.append(control(slider, plot, library, figure.frames));
      box.dataset.state = "drawn";
    })();
    return box.drawn;
  }

  function control(slider, plot, library, frames) {
    const label = document.createElement("label");
    label.className = "dgm-slider";
    const text = document.createElement("span");
    const input = document.createElement("input");
    input.type = "range";
    input.min = 0;
    input.max = slider.steps.length - 1;
    input.value = slider.active ?? 0;
    const say = () => {
      const value = slider.steps[input.value].label;
      text.textContent = `${slider.currentvalue.prefix}${value}`;
      input.setAttribute("aria-valuetext", value);
    };
    input.addEventListener("input", () => {
      say();
      const now = { mode: "immediate", frame: { duration: 0, redraw: true }, transition: { duration: 0 } };
      library.animate(plot, [slider.steps[input.value].label], now);
    });
    say();
    label.append(text, input);
    return label;
  }

  const boxes = [...document.querySelectorAll(".dgm-plotly")];
  for (const box of boxes) box.style.minHeight = `${Number(box.dataset.height) + 48}px`;
  root.classList.add("dgm-scripts"); // the still pictures give way
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  boxes.forEach((box) => seen.observe(box));
  new MutationObserver(() => {
    for (const box of boxes) if (box.plot) window.Plotly.relayout(box.plot, themed());
  }).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
})();
