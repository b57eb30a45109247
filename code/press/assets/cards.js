// Flash cards with spaced repetition (SM-2), kept in this browser; they can be saved to a file and taken up again.
(() => {
  "use strict";
  const KEY = "dgm-cards";
  const DAY = 86_400_000;
  const words = {
    en: {
      show: "Show the answer", grades: ["Again", "Hard", "Good", "Easy"], all: "All tickets", ticket: "Ticket",
      due: (due, all) => `${due} due of ${all}`, done: "Nothing is due. Come back tomorrow, or learn ahead.",
      ahead: "Learn ahead", save: "Save progress to a file", load: "Load progress", forget: "Forget all progress",
      sure: "Forget the progress of all cards?", bad: "This file holds no progress of these cards.", which: "Cards of",
      loaded: (n) => `Progress of ${n} cards was loaded.`,
    },
    ru: {
      show: "Показать ответ", grades: ["Не помню", "С трудом", "Помню", "Легко"], all: "Все билеты", ticket: "Билет",
      due: (due, all) => `К повторению ${due} из ${all}`, done: "Сегодня повторять нечего. Возвращайтесь завтра или учите вперёд.",
      ahead: "Учить вперёд", save: "Сохранить успехи в файл", load: "Загрузить успехи", forget: "Забыть все успехи",
      sure: "Забыть успехи по всем карточкам?", bad: "В этом файле нет успехов по этим карточкам.", which: "Карточки:",
      loaded: (n) => `Загружены успехи по ${n} карточкам.`,
    },
  };

  // SM-2 (P. Wozniak, 1990): ease from 1.3 up; intervals of 1 day, 6 days, then times the ease. A grade below "hard"
  // brings the card back in the same sitting.
  function next({ ease = 2.5, days = 0, times = 0 } = {}, grade, now) {
    if (grade === 0) return { ease: Math.max(1.3, ease - 0.2), days: 0, times: 0, due: now };
    const quality = grade + 2;
    const eased = Math.max(1.3, ease + 0.1 - (5 - quality) * (0.08 + (5 - quality) * 0.02));
    const length = times === 0 ? 1 : times === 1 ? 6 : Math.round(days * eased);
    return { ease: eased, days: length, times: times + 1, due: now + length * DAY };
  }

  const home = document.querySelector(".dgm-cards");
  const cards = [...home.querySelectorAll("template")];
  const known = new Set(cards.map((card) => card.dataset.card));
  let state = {};
  try {
    state = sound(JSON.parse(localStorage.getItem(KEY) ?? "{}")) ?? {};
  } catch {}
  let ahead = false;
  let ticket = "";
  let last;

  function sound(read) {
    if (typeof read !== "object" || read === null || Array.isArray(read)) return null;
    const fine = ([id, card]) =>
      known.has(id) && ["ease", "days", "times", "due"].every((key) => Number.isFinite(card?.[key]) && card[key] >= 0);
    return Object.fromEntries(Object.entries(read).filter(fine));
  }
  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify(state));
    } catch {}
  }

  const make = window.dgmMake;

  function deal() {
    const language = document.documentElement.dataset.dgmLanguage ?? "en";
    const say = words[language];
    const mine = cards.filter((card) => card.dataset.language === language && (!ticket || card.dataset.ticket === ticket));
    const now = Date.now();
    const due = (card) => state[card.dataset.card]?.due ?? 0;
    const ready = mine.filter((card) => ahead || due(card) <= now).sort((a, b) => due(a) - due(b));
    const [first, second] = ready;
    const card = first?.dataset.card === last && second ? second : first; // not the same twice in a row

    board.replaceChildren();
    board.lang = language;
    const top = make("div", "", board);
    top.className = "dgm-cards-top";
    const label = make("label", `${say.which} `, top);
    const select = make("select", "", label);
    const numbers = [...new Set(cards.map((each) => each.dataset.ticket))];
    for (const [value, text] of [["", say.all], ...numbers.map((n) => [n, `${say.ticket} ${n}`])]) {
      const option = make("option", text, select);
      option.value = value;
      option.selected = value === ticket;
    }
    select.addEventListener("change", () => {
      ticket = select.value;
      deal();
      board.querySelector("select").focus();
    });
    const count = make("span", say.due(mine.filter((each) => due(each) <= now).length, mine.length), top);
    count.setAttribute("role", "status");

    const face = make("div", "", board);
    face.className = "dgm-card";
    const row = make("div", "", board);
    row.className = "dgm-grades";
    if (!card) {
      make("p", say.done, face);
      make("button", say.ahead, row, () => {
        ahead = true;
        deal();
      });
    } else {
      const sides = card.content.cloneNode(true);
      const back = sides.querySelector(".dgm-back");
      back.hidden = true;
      face.append(sides);
      face.tabIndex = -1;
      const show = make("button", say.show, row, () => {
        back.hidden = false;
        row.replaceChildren();
        say.grades.forEach((grade, i) => {
          make("button", `${i + 1} ${grade}`, row, () => mark(card.dataset.card, i));
        });
        window.dgmTypeset(back);
        row.children[2].focus();
      });
      show.className = "dgm-show";
      window.dgmTypeset(face);
    }
    const foot = make("div", "", board);
    foot.className = "dgm-cards-foot";
    make("button", say.save, foot, save);
    const pick = make("input", "", foot);
    pick.type = "file";
    pick.accept = "application/json";
    pick.hidden = true;
    pick.addEventListener("change", () => load(pick.files[0], say));
    make("button", say.load, foot, () => pick.click());
    make("button", say.forget, foot, () => {
      if (!confirm(say.sure)) return;
      state = {};
      keep();
      deal();
    });
    make("output", "", foot);
  }

  function mark(id, grade) {
    state[id] = next(state[id], grade, Date.now());
    last = id;
    keep();
    deal();
    (board.querySelector(".dgm-show") ?? board.querySelector(".dgm-grades button")).focus();
  }

  function save() {
    const link = make("a", "");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(state, null, 1)], { type: "application/json" }));
    link.download = "dgm-cards.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function load(file, say) {
    let read = null;
    try {
      read = sound(JSON.parse(await file.text()));
    } catch {}
    const count = Object.keys(read ?? {}).length;
    if (count) {
      state = { ...state, ...read };
      keep();
      deal();
    }
    board.querySelector("output").textContent = count ? say.loaded(count) : say.bad;
  }

  const board = make("section", "", home);
  board.className = "dgm-board";
  board.setAttribute("aria-label", "Cards · Карточки");
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const grades = board.querySelectorAll(".dgm-grades button");
    if (grades.length === 4 && event.key >= "1" && event.key <= "4") grades[event.key - 1].click();
  });
  document.addEventListener("dgm-language", deal);
  deal();
})();
