// The mock exam: two tickets by chance, written with a clock or oral at once; the student marks the points that came.
(() => {
  "use strict";
  const KEY = "dgm-mock";
  const MINUTES = 60;
  const words = {
    en: {
      written: "Written: 60 minutes for both", oral: "Oral: no preparation", begin: "Draw two tickets", stop: "Done: compare",
      mode: "Way", left: "left", over: "Time is over.", points: "Tick what you said or wrote:", mark: "Mark", ticket: "Ticket",
      answer: "the answer", result: (a, b) => `${a} of ${b} points.`, keep: "Keep the result", again: "Draw again",
      history: "Results so far", forget: "Forget them", sure: "Forget all results?", said: "Speak aloud, without notes, five minutes a ticket; then compare.",
      date: "Date", tickets: "Tickets", share: "Points", none: "No result yet.",
      grade: (n) => ["1: begin again with the one-minute answers", "2: the words are there, the reasons are not", "3: passed", "4: good", "5: excellent"][n - 1],
    },
    ru: {
      written: "Письменно: 60 минут на оба", oral: "Устно: без подготовки", begin: "Вытянуть два билета", stop: "Готово: сравнить",
      mode: "Способ", left: "осталось", over: "Время вышло.", points: "Отметьте, что вы сказали или написали:", mark: "Оценка", ticket: "Билет",
      answer: "ответ", result: (a, b) => `${a} из ${b} пунктов.`, keep: "Сохранить результат", again: "Тянуть снова",
      history: "Результаты", forget: "Забыть их", sure: "Забыть все результаты?", said: "Отвечайте вслух, без записей, пять минут на билет; потом сравните.",
      date: "Дата", tickets: "Билеты", share: "Пункты", none: "Результатов пока нет.",
      grade: (n) => ["1: начните с ответов на одну минуту", "2: слова есть, причин нет", "3: сдано", "4: хорошо", "5: отлично"][n - 1],
    },
  };
  // The share of points that earns a mark, after the course's scale of 110: 5 above 88 (A), 4 above 71 (B, C), 3 from
  // 60 (D, E); below it, 2 from a quarter on is ours.
  const mark = (share) => (share > 0.8 ? 5 : share > 0.645 ? 4 : share >= 0.545 ? 3 : share >= 0.25 ? 2 : 1);

  const home = document.querySelector(".dgm-mock");
  const all = [...home.querySelectorAll("template")];
  const numbers = [...new Set(all.map((each) => each.dataset.ticket))];
  const make = window.dgmMake;
  const board = make("section", "", home);
  board.className = "dgm-board";
  board.setAttribute("aria-label", "Mock exam · Пробный экзамен");

  let run = { stage: "start", mode: "written" };
  let clock;
  const read = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept.filter((row) => Array.isArray(row?.tickets) && Number.isFinite(row.share)) : [];
    } catch {
      return [];
    }
  };
  const write = (rows) => {
    try {
      localStorage.setItem(KEY, JSON.stringify(rows));
    } catch {}
  };

  function draw() {
    const pot = [...numbers];
    const take = () => pot.splice(Math.floor(Math.random() * pot.length), 1)[0];
    run = { ...run, stage: "work", tickets: [take(), take()], ends: Date.now() + MINUTES * 60_000, ticked: {} };
    show();
  }

  function show() {
    clearInterval(clock);
    const language = document.documentElement.dataset.dgmLanguage ?? "en";
    const say = words[language];
    board.replaceChildren();
    board.lang = language;
    if (run.stage === "start") start(say);
    else {
      const found = run.tickets.map((n) => all.find((t) => t.dataset.ticket === n && t.dataset.language === language));
      (run.stage === "work" ? work : compare)(say, found);
    }
    history(say);
  }

  function start(say) {
    const group = make("fieldset", "", board);
    make("legend", say.mode, group);
    for (const mode of ["written", "oral"]) {
      const label = make("label", "", group);
      const input = make("input", "", label);
      input.type = "radio";
      input.name = "dgm-mode";
      input.checked = run.mode === mode;
      input.addEventListener("change", () => (run.mode = mode));
      label.append(` ${say[mode]}`);
    }
    make("button", say.begin, board, draw);
  }

  function work(say, found) {
    for (const each of found) make("p", `${say.ticket} ${each.dataset.ticket}. ${JSON.parse(each.dataset.title)}`, board).className = "dgm-drawn";
    if (run.mode === "oral") make("p", say.said, board);
    else {
      const time = make("p", "", board);
      time.className = "dgm-clock";
      time.setAttribute("role", "timer");
      const tick = () => {
        const left = Math.max(0, Math.ceil((run.ends - Date.now()) / 1000));
        const clockwise = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
        time.textContent = left ? `${clockwise} ${say.left}` : say.over;
        if (!left) clearInterval(clock);
      };
      tick();
      clock = setInterval(tick, 1000);
    }
    make("button", say.stop, board, () => {
      run.stage = "compare";
      show();
    }).focus();
  }

  function compare(say, found) {
    const result = make("p", "");
    const count = () => {
      const boxes = [...board.querySelectorAll("input[type=checkbox]")];
      const came = boxes.filter((box) => box.checked).length;
      run.share = came / boxes.length;
      run.mark = mark(run.share);
      result.textContent = `${say.result(came, boxes.length)} ${say.mark} ${say.grade(run.mark)}.`;
    };
    for (const each of found) {
      const group = make("fieldset", "", board);
      const legend = make("legend", `${say.ticket} ${each.dataset.ticket}. ${JSON.parse(each.dataset.title)} `, group);
      const link = make("a", `(${say.answer})`, legend);
      link.href = each.dataset.url;
      make("p", say.points, group);
      [...each.content.cloneNode(true).children].forEach((point, i) => {
        const label = make("label", "", group);
        const box = make("input", "", label);
        box.type = "checkbox";
        const key = `${each.dataset.ticket}/${i}`;
        box.checked = Boolean(run.ticked[key]);
        box.addEventListener("change", () => {
          run.ticked[key] = box.checked;
          count();
        });
        label.append(point);
      });
      window.dgmTypeset(group);
    }
    result.setAttribute("role", "status");
    board.append(result);
    count();
    make("button", say.keep, board, () => {
      const row = { date: new Date().toISOString().slice(0, 10), mode: run.mode, tickets: run.tickets, share: run.share, mark: run.mark };
      write([...read(), row]);
      run = { stage: "start", mode: run.mode };
      show();
    });
    make("button", say.again, board, draw);
  }

  function history(say) {
    const rows = read();
    make("h2", say.history, board).className = "dgm-history";
    if (!rows.length) {
      make("p", say.none, board);
      return;
    }
    const table = make("table", "", board);
    table.className = "table";
    const head = make("tr", "", make("thead", "", table));
    for (const name of [say.date, say.mode, say.tickets, say.share, say.mark]) make("th", name, head).scope = "col";
    const body = make("tbody", "", table);
    for (const row of [...rows].reverse()) {
      const line = make("tr", "", body);
      const mode = say[row.mode]?.split(":")[0] ?? "";
      for (const cell of [row.date, mode, row.tickets.join(", "), `${Math.round(100 * row.share)} %`, String(row.mark)]) make("td", cell, line);
    }
    make("button", say.forget, board, () => {
      if (!confirm(say.sure)) return;
      write([]);
      show();
    });
  }

  document.addEventListener("dgm-language", show);
  show();
})();
