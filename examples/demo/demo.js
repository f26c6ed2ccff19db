// Keeps the page up to date: requests it once a second, and replaces the parts that have changed.
"use strict";

const EVERY = 1000;
const live = document.getElementById("live");

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

// Adds new steps and removes old ones one by one, so that a screen reader reads only the new ones.
function updateSteps(fresh) {
  const steps = document.getElementById("steps");
  const there = fresh.getElementById("steps");
  if (!steps || !there) return;
  for (const step of [...steps.children]) {
    if (!fresh.getElementById(step.id)) step.remove();
  }
  for (const step of [...there.children].reverse()) {
    if (document.getElementById(step.id)) continue;
    step.classList.add("new");
    steps.prepend(step);
  }
  document.getElementById("nothing").hidden = steps.children.length > 0;
}

// Does not replace a part that has the focus, because the focus would be lost.
function update(fresh, id) {
  const here = document.getElementById(id);
  const there = fresh.getElementById(id);
  if (!here || !there || here.innerHTML === there.innerHTML) return;
  if (!here.contains(document.activeElement)) here.replaceChildren(...there.childNodes);
}

async function refresh() {
  const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["you", "replay", "delivery"]) update(fresh, id);
  updateSteps(fresh);
}

async function keepUp() {
  if (!document.hidden) {
    try {
      await refresh();
      say("Up to date.");
    } catch {
      say("The demo does not answer. Trying again.");
    }
  }
  setTimeout(keepUp, EVERY);
}

if (document.getElementById("steps")) keepUp();
