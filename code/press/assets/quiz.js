// Questions on the page: a button that checks, what came of it said aloud, the explanation unfolded.
(() => {
  "use strict";
  const number = (text) => Number(text.trim().replace(",", ".").replace("−", "-") || NaN);

  const checks = {
    choice: options,
    several: options,
    number(form) {
      const came = number(form.querySelector("input").value);
      if (Number.isNaN(came)) return [false, "Please enter a number, such as 0.5."];
      const right = Math.abs(came - Number(form.dataset.answer)) <= Number(form.dataset.within);
      return [right, right ? "Right." : "Not yet."];
    },
    order(form) {
      const places = [...form.querySelectorAll(".dgm-steps > li")].map((step) => Number(step.dataset.place));
      const wrong = places.filter((place, i) => place !== i).length;
      return [!wrong, wrong ? `Not yet: ${wrong} of ${places.length} stand at another place.` : "Right."];
    },
  };

  function options(form) {
    const all = [...form.querySelectorAll(".dgm-options > li")];
    const chosen = all.filter((option) => option.querySelector("input").checked);
    if (!chosen.length) return [false, "Please choose first."];
    const good = (option) => "right" in option.dataset;
    for (const option of all) option.classList.toggle("dgm-wrong", chosen.includes(option) && !good(option));
    const bad = chosen.filter((option) => !good(option)).length;
    const lacking = all.filter((option) => good(option) && !chosen.includes(option)).length;
    if (!bad && !lacking) {
      for (const option of chosen) option.classList.add("dgm-right");
      return [true, "Right."];
    }
    const parts = [bad && `${bad} chosen too many`, lacking && `${lacking} still missing`].filter(Boolean);
    return [false, form.dataset.kind === "choice" ? "Not yet." : `Not yet: ${parts.join(", ")}.`];
  }

  function movable(form) {
    for (const step of form.querySelectorAll(".dgm-steps > li")) {
      for (const [sign, name, way] of [["↑", "up", -1], ["↓", "down", 1]]) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = sign;
        button.setAttribute("aria-label", `Move ${name}: ${step.querySelector("span").textContent.trim()}`);
        button.addEventListener("click", () => {
          const other = way < 0 ? step.previousElementSibling : step.nextElementSibling;
          if (!other) return;
          way < 0 ? other.before(step) : other.after(step);
          button.focus();
          const place = [...step.parentNode.children].indexOf(step) + 1;
          form.querySelector("output").textContent = `Now at place ${place}.`;
        });
        step.append(button);
      }
    }
  }

  for (const form of document.querySelectorAll(".dgm-quiz")) {
    const answer = form.querySelector(".dgm-answer");
    const check = document.createElement("button");
    check.type = "submit";
    check.className = "dgm-check";
    check.textContent = "Check";
    const said = document.createElement("output");
    const row = document.createElement("div");
    row.className = "dgm-verdict";
    row.append(check, said);
    answer.before(row);
    if (form.dataset.kind === "order") movable(form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [right, words] = checks[form.dataset.kind](form);
      said.textContent = words;
      said.dataset.right = right;
      if (right) answer.open = true;
    });
  }
})();
