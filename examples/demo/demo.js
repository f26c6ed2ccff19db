// Keeps the page up to date: asks for it once a second, and takes over what has changed.
"use strict";

const EVERY = 1000;
const live = document.getElementById("live");

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

// New steps are added and old ones taken away, one by one: what is read aloud is only what is new.
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

// Never while somebody is at it: the focus would be lost.
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
