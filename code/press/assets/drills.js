// Drills: one of the instances that the build made is dealt by chance, the reader's number is compared at once.
(() => {
  "use strict";
  const words = {
    en: {
      yours: "Your answer", whole: "a whole number", places: (n) => `${n} decimals`, check: "Check", other: "Other numbers",
      solution: "Solution", right: "Right.", wrong: "Not yet.", close: "Close, but not within the rounding.",
      sign: "Only the sign is wrong.", none: "Please enter a number, such as 0.5 or 1/3.", dealt: "Other numbers are shown.",
    },
    ru: {
      yours: "Ваш ответ", whole: "целое число", places: (n) => `знаков после запятой: ${n}`, check: "Проверить", other: "Другие числа",
      solution: "Решение", right: "Верно.", wrong: "Пока нет.", close: "Близко, но точнее округления не вышло.",
      sign: "Ошибка только в знаке.", none: "Введите число, например 0,5 или 1/3.", dealt: "Показаны другие числа.",
    },
  };

  // "0,5", "−2.25", "1e-3", "1/3" and "1 200" are numbers, "1,200" is where a whole number is asked for; anything else,
  // also an empty field, is not.
  function number(text, whole) {
    const bare = text.replace(/\s/g, "").replaceAll("−", "-");
    const plain = (whole ? bare.replace(/[.,](?=\d{3}(?!\d))/g, "") : bare).replaceAll(",", ".");
    const part = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?`;
    const found = plain.match(new RegExp(`^(${part})(?:/(${part}))?$`, "i"));
    const value = found ? Number(found[1]) / Number(found[2] ?? 1) : NaN;
    return Number.isFinite(value) ? value : NaN;
  }

  function judge(came, answer, within, whole) {
    // A hair more than `within`, so that binary fractions do not decide at the very edge.
    const near = (value, width) => Math.abs(value - answer) <= width * (1 + 1e-9);
    if (Number.isNaN(came)) return "none";
    if (whole) return came === answer ? "right" : -came === answer ? "sign" : "wrong";
    if (near(came, within)) return "right";
    if (near(-came, within)) return "sign";
    return near(came, 5 * within) ? "close" : "wrong";
  }

  const make = (tag, text, parent) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    parent?.append(made);
    return made;
  };

  function start(home) {
    const all = [...home.querySelectorAll("template")];
    const seeds = [...new Set(all.map((each) => each.dataset.seed))];
    const pick = (but) => {
      const pot = seeds.filter((each) => each !== but);
      return pot[Math.floor(Math.random() * pot.length)];
    };
    let seed = pick();

    home.querySelector(".dgm-still").remove();
    const form = make("form", "", home);
    form.className = "dgm-quiz";
    form.noValidate = true;
    form.setAttribute("aria-labelledby", home.getAttribute("aria-labelledby"));
    const ask = make("div", "", form);
    const line = make("p", "", form);
    const label = make("label", "", line);
    const said = make("span", "", label);
    const input = make("input", "", label);
    input.type = "text";
    input.inputMode = "text"; // not "decimal": those keyboards lack the minus sign and the slash
    input.size = 12;
    input.autocomplete = "off";
    const row = make("div", "", form);
    row.className = "dgm-verdict";
    const check = make("button", "", row);
    check.type = "submit";
    const other = make("button", "", row);
    other.type = "button";
    const output = make("output", "", row);
    output.setAttribute("aria-live", "polite");
    const folded = make("details", "", form);
    folded.className = "dgm-answer";
    const summary = make("summary", "", folded);
    const worked = make("div", "", folded);
    let told = "";

    const language = () => (document.documentElement.dataset.dgmLanguage === "ru" ? "ru" : "en");
    const now = () => all.find((each) => each.dataset.seed === seed && each.dataset.language === language());

    function tell(what) {
      told = what;
      output.textContent = what ? words[language()][what] : "";
      output.dataset.right = what === "right";
    }

    function show() {
      const card = now();
      const say = words[language()];
      const parts = card.content.cloneNode(true);
      form.lang = language();
      ask.replaceChildren(parts.querySelector(".dgm-ask"));
      worked.replaceChildren(parts.querySelector(".dgm-worked"));
      const places = Number(card.dataset.places);
      said.textContent = `${say.yours} (${places ? say.places(places) : say.whole}): `;
      check.textContent = say.check;
      other.textContent = say.other;
      summary.textContent = say.solution;
      tell(told);
      window.dgmTypeset(ask);
      window.dgmTypeset(worked);
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { answer, within, places } = now().dataset;
      const whole = Number(places) === 0;
      const verdict = judge(number(input.value, whole), Number(answer), Number(within), whole);
      tell(verdict);
      if (verdict === "right") folded.open = true;
      else input.select();
    });
    other.addEventListener("click", () => {
      seed = pick(seed);
      input.value = "";
      folded.open = false;
      told = "dealt";
      show();
      input.focus();
    });
    input.addEventListener("input", () => tell(""));
    document.addEventListener("dgm-language", show);
    show();
  }

  for (const home of document.querySelectorAll(".dgm-drill")) start(home);
})();
