// Exam pages speak English and Russian: a switch shows one of them and remembers which. Without scripts both are shown.
(() => {
  "use strict";
  const root = document.documentElement;
  const KEY = "dgm-language";
  const names = { en: "English", ru: "Русский" };
  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const box = document.createElement("div");
  box.className = "dgm-languages";
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Language · Язык");
  const choose = (language) => {
    root.dataset.dgmLanguage = language;
    for (const button of box.children) button.setAttribute("aria-pressed", button.lang === language);
    try {
      localStorage.setItem(KEY, language);
    } catch {}
    document.dispatchEvent(new CustomEvent("dgm-language", { detail: language }));
  };
  for (const [language, name] of Object.entries(names)) {
    const button = document.createElement("button");
    button.type = "button";
    button.lang = language;
    button.textContent = name;
    button.addEventListener("click", () => choose(language));
    box.append(button);
  }
  // An element with its text, put into another, with what pressing it does.
  window.dgmMake = (tag, text, parent, press) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (press) made.addEventListener("click", press);
    if (tag === "button") made.type = "button";
    parent?.append(made);
    return made;
  };
  // MathJax sets one thing after the other: a second call while the first still loads an extension would spoil both.
  let line = Promise.resolve();
  window.dgmTypeset = (element) => {
    line = line
      .then(() => window.MathJax?.startup?.promise)
      .then(() => element.isConnected && window.MathJax?.typesetPromise?.([element]))
      .catch(() => {});
  };
  document.querySelector("article h1")?.after(box);
  const asked = kept() ?? (navigator.language.startsWith("ru") ? "ru" : "en");
  choose(asked in names ? asked : "en");
})();
