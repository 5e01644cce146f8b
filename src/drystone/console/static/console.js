// Everything can be read and sent without this. It keeps what moves up to date, brings "/" to the search field, and sends
// several files at once with their progress.
const EVERY_MS = 5000;

async function refresh() {
  const parts = [...document.querySelectorAll("[data-live]")];
  const isBusy = parts.some((part) => part.contains(document.activeElement) && document.activeElement !== document.body);
  if (!parts.length || document.hidden || isBusy) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
    }
  } catch {
    // The server is away, or the visit is over: what is shown stays, and the next try may do.
  }
}

if (document.querySelector("[data-live]")) setInterval(refresh, EVERY_MS);

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const field = document.querySelector("#q");
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    } else {
      event.preventDefault();
      location.assign("/search");
    }
  }
});

for (const form of document.querySelectorAll("form"))
  form.addEventListener("submit", (event) => {
    const said = event.submitter?.dataset.ask ?? form.dataset.ask;
    if (said && !confirm(said)) event.preventDefault();
  });

// What takes a while says so, and is sent once; whoever comes back may send it again.
for (const form of document.querySelectorAll("form[data-once]")) {
  const button = form.querySelector("button");
  const said = button.textContent;
  form.addEventListener("submit", () => {
    button.textContent = form.dataset.once;
    button.disabled = true;
  });
  addEventListener("pageshow", () => {
    button.textContent = said;
    button.disabled = false;
  });
}

// The link of a draft: what stands after the "#" is handed over in a form, and neither kept in the address nor in the history.
function handOver() {
  const form = document.querySelector("form[data-link]");
  if (!form || !location.hash.startsWith("#dsd_")) return;
  form.elements.link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  form.submit();
}
addEventListener("hashchange", handOver);
handOver();

// What is wrong with a change is told beside its field while somebody writes; what was asked last counts.
const PAUSE_MS = 600;
const BUSY_MS = 4000;

function tell(form, told) {
  for (const place of form.querySelectorAll("[data-faults]")) {
    const said = told.fields[place.dataset.faults] ?? [];
    show(place, said);
    const field = place.dataset.faults && form.elements[place.dataset.faults];
    if (field) said.length ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid");
  }
  show(form.querySelector("[data-faults-elsewhere]"), told.elsewhere);
  const count = Object.values(told.fields).flat().length + told.elsewhere.length;
  form.querySelector("[data-verdict]").textContent =
    count === 0 ? "Nothing is wrong with it." : count === 1 ? "One thing is wrong." : `${count} things are wrong.`;
}

function show(place, said) {
  place.replaceChildren(
    ...said.map((each) => {
      const line = document.createElement("p");
      line.textContent = each;
      return line;
    }),
  );
}

for (const form of document.querySelectorAll("form[data-check]")) {
  let waiting;
  let asked = 0;
  const check = async () => {
    const mine = ++asked;
    const body = new URLSearchParams([...new FormData(form), ["action", "put"]]);
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body, headers: { Accept: "application/json" } });
      if (mine !== asked) return;
      if (answer.ok) tell(form, await answer.json());
      else if (answer.status === 429 || answer.status === 503) waiting = setTimeout(check, BUSY_MS);
    } catch {
      // The server is away: what is wrong is told when the form is sent.
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(check, PAUSE_MS);
  });
}

// A link to something that is folded opens it.
function unfold() {
  let meant = null;
  try {
    meant = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  } catch {
    // an address that somebody else made: there is no such place
  }
  if (meant instanceof HTMLDetailsElement) meant.open = true;
}
addEventListener("hashchange", unfold);
unfold();

const AT_ONCE = 3;

function send(url, file, item) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file);
    const bar = item.querySelector("progress");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    });
    request.addEventListener("loadend", () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // no answer, or none of ours: told below
      }
      const said = item.querySelector("[data-answer]");
      bar.remove();
      if (request.status === 200 && answer.url) {
        const link = document.createElement("a");
        link.href = answer.url;
        link.textContent = answer.said;
        said.replaceChildren(link);
      } else {
        const hint = answer.hint ? ` ${answer.hint[0].toUpperCase()}${answer.hint.slice(1)}.` : "";
        const why = answer.detail ? answer.detail + hint : "The server did not answer.";
        said.textContent = why;
        said.className = "state failed wraps";
      }
      resolve();
    });
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.send(form);
  });
}

async function sendAll(form, files) {
  const list = form.querySelector("[data-uploads]");
  list.hidden = false;
  const waiting = [...files].map((file) => {
    const item = document.createElement("li");
    item.className = "row";
    const name = document.createElement("span");
    name.textContent = file.name;
    const answer = document.createElement("span");
    answer.dataset.answer = "";
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Progress of ${file.name}`);
    answer.append(bar);
    item.append(name, answer);
    list.append(item);
    return [file, item];
  });
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await send(form.action, ...next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  refresh();
}

for (const form of document.querySelectorAll("form[data-upload]")) {
  const field = form.querySelector("input[type=file]");
  field.multiple = true;
  form.querySelector("[data-said]").prepend("Choose files, or drop them here. ");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sendAll(form, field.files);
    form.reset();
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop") sendAll(form, event.dataTransfer.files);
    });
}
