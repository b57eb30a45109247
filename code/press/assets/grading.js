// The calculators of marks: points in, mark and what is missing to the next one out. The rules stand on the page.
(() => {
  "use strict";
  const LETTERS = [["A", 88], ["B", 79], ["C", 71], ["D", 66]]; // each for more than so many points
  const PASS = 60; // E, with this number too
  const MOST = 110;
  const LATE = 70; // at most, for who hands nothing in during the term and gives no talk
  const say = (n) => `${Math.round(10 * n) / 10} ${n === 1 ? "point" : "points"}`;

  function letter(points) {
    return LETTERS.find(([, above]) => points > above)?.[0] ?? (points >= PASS ? "E" : "FX");
  }

  function letters({ homework, talk, exam, term, talked }) {
    const sum = homework + talk + exam;
    if (sum > MOST) return `${say(sum)}: more than the ${MOST} that there are. Look at the numbers again.`;
    const cut = !term && !talked && sum > LATE;
    const points = cut ? LATE : sum;
    const mark = letter(points);
    const said = [`${say(sum)} of ${MOST}${cut ? `, cut to ${LATE}, as nothing was handed in during the term and no talk given` : ""}: ${mark}.`];
    if (mark === "FX") {
      said.push(`For E at least ${say(PASS - points)} more.`);
      said.push(`A retake asks for ${PASS} points of homework (you lack ${say(PASS - homework)}) and two oral questions.`);
    } else if (mark !== "A") {
      const [next, above] = LETTERS.findLast(([, least]) => points <= least);
      const barred = !term && !talked && above >= LATE;
      const lacks = above > points ? `more than ${say(above - points)}` : "the smallest step";
      said.push(barred ? `No ${next} without a talk, or homework during the term.` : `For ${next} more than ${above} are asked: you lack ${lacks}.`);
    }
    return said.join(" ");
  }

  function ten(points) {
    const mark = Math.min(10, Math.floor(Math.max(0, points / 8 - 2)));
    const more = mark < 10 ? ` For ${mark + 1} at least ${say(8 * (mark + 3) - points)} more.` : "";
    return `${say(points)}: ${mark}.${more}`;
  }

  for (const form of document.querySelectorAll("form.dgm-grading")) {
    const fields = [...form.querySelectorAll("input[type=number]")];
    const output = form.querySelector("output");
    const show = () => {
      for (const field of fields) field.setAttribute("aria-invalid", String(!field.checkValidity()));
      const wrong = fields.find((field) => !field.checkValidity());
      if (wrong) {
        output.textContent = `${wrong.labels[0].textContent.trim()}: expected a number from ${wrong.min} to ${wrong.max} in steps of a half.`;
        return;
      }
      if (fields.every((field) => field.value === "")) {
        output.textContent = "Enter your points.";
        return;
      }
      const values = fields.map((field) => Number(field.value));
      if (form.dataset.scale === "ten") output.textContent = ten(values.reduce((a, b) => a + b, 0));
      else {
        const [homework, talk, exam] = values;
        output.textContent = letters({ homework, talk, exam, term: form.querySelector("input[type=checkbox]").checked, talked: fields[1].value !== "" });
      }
    };
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(show));
    form.hidden = false;
    show();
  }
})();
