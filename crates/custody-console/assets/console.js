// What every page does: times in the viewer's zone, parts that keep up with the service, forms, dialogs, tabs, copying.
"use strict";

const custody = (() => {
  const EVERY = 2000;
  const shown = new Map(); // What the service sent last of each live part, by its id.
  const said = () => document.getElementById("said");
  let ended = false;

  // How often another page was asked for since this one is here.
  let departures = 0;
  addEventListener("beforeunload", () => (departures += 1));

  // What is left no longer changes: nobody may press what goes away with the page.
  function leave(to) {
    ended = true;
    location.assign(to);
  }

  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

  const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const TIME = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;

  // Times within what a service or a node says are times too.
  function markTimes(place) {
    const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT, (text) =>
      TIME.test(text.data) && !text.parentElement.closest("time") ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_REJECT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts) {
      // Split by what is captured: every second part is a time.
      const parts = text.data.split(TIME).map((part, number) =>
        number % 2 ? Object.assign(document.createElement("time"), { dateTime: part, textContent: part }) : part);
      text.replaceWith(...parts);
    }
  }

  function localTimes(root) {
    root.querySelectorAll("[data-times]").forEach(markTimes);
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) {
        time.textContent = times.format(at);
        time.title = time.dateTime;
      }
    }
  }

  // A word that passes; screen readers say it.
  let silence = 0;
  function say(text, bad = false) {
    const place = said();
    if (!place) return;
    // What lies outside of an open dialog is not read out.
    (document.querySelector("dialog[open]") ?? document.body).append(place);
    place.textContent = text;
    place.classList.toggle("bad", bad);
    clearTimeout(silence);
    silence = setTimeout(() => (place.textContent = ""), bad ? 12000 : 4000);
  }

  function tell(place, text) {
    place.textContent = text;
    place.hidden = !text;
  }

  // Live parts

  const regions = () => [...document.querySelectorAll("[data-live][id]")];

  function begin(root) {
    for (const region of root.querySelectorAll("[data-live][id]")) shown.set(region.id, region.outerHTML);
    localTimes(root);
  }

  // How a control is found again after its part was replaced.
  const nameOf = (element) =>
    [element.tagName, element.id, element.getAttribute("href"), element.getAttribute("aria-label"), element.textContent].join("|");

  function replace(region, fresh) {
    const focused = region.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    const open = [...region.querySelectorAll("details")].map((it) => it.open);
    localTimes(fresh);
    region.replaceWith(fresh);
    [...fresh.querySelectorAll("details")].forEach((it, number) => (it.open = open[number] ?? false));
    if (focused) [...fresh.querySelectorAll("a, button, input, select, summary, pre")].find((it) => nameOf(it) === focused)?.focus();
    fresh.dispatchEvent(new CustomEvent("custody:updated", { bubbles: true }));
  }

  // Whether somebody has it in hand: what is selected would be lost, and so would a click between press and release.
  function isHeld(region) {
    const selection = getSelection();
    return region.matches(":active") || (selection && !selection.isCollapsed && selection.containsNode(region, true));
  }

  async function load(address) {
    const response = await fetch(address, { headers: { "x-console": "live" }, credentials: "same-origin", cache: "no-store" });
    if (response.status === 401) {
      leave(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
      return null;
    }
    if (response.status === 404) {
      ended = true;
      location.reload();
      return null;
    }
    if (!response.ok) throw new Error(response.statusText);
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  async function refresh() {
    const sources = new Map();
    for (const region of regions()) {
      const address = region.dataset.live || location.pathname + location.search;
      sources.set(address, [...(sources.get(address) ?? []), region.id]);
    }
    for (const [address, ids] of sources) {
      const page = await load(address);
      if (!page || ended) return;
      for (const id of ids) {
        const [region, fresh] = [document.getElementById(id), page.getElementById(id)];
        if (!region || !fresh) continue;
        const text = fresh.outerHTML;
        if (text === shown.get(id) || isHeld(region)) continue;
        shown.set(id, text);
        replace(region, document.adoptNode(fresh));
      }
    }
  }

  async function keepUp() {
    let lost = false;
    while (!ended) {
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      if (document.hidden || ended || !regions().length) continue;
      try {
        await refresh();
        if (lost) say("Connected again");
        lost = false;
      } catch {
        if (!lost) say("The service can't be reached: what you see may be old. Trying again", true);
        lost = true;
      }
    }
  }

  // Forms

  const UNREACHABLE = "The service can't be reached: look whether it runs, and try again";

  async function message(response) {
    try {
      return (await response.json()).message;
    } catch {
      return `The service answered with status ${response.status}: try again`;
    }
  }

  function showPage(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = document.adoptNode(page.getElementById("main"));
    document.getElementById("main").replaceWith(main);
    begin(main);
    scrollTo(0, 0);
    main.focus();
  }

  async function send(form) {
    const place = form.querySelector(".error");
    const buttons = [...form.querySelectorAll("button[type=submit]")].filter((button) => !button.disabled);
    if (place) tell(place, "");
    buttons.forEach((button) => (button.disabled = true));
    form.setAttribute("aria-busy", "true");
    const before = departures;
    try {
      const body = new URLSearchParams(new FormData(form));
      const response = await fetch(form.getAttribute("action"), {
        method: "POST", headers: { "x-console": "form" }, credentials: "same-origin", body,
      });
      if (!response.ok) throw new Error(await message(response));
      form.querySelectorAll("input[type=password]").forEach((input) => (input.value = ""));
      if (response.headers.get("content-type")?.startsWith("text/html")) return showPage(await response.text());
      const { location: to } = await response.json();
      // Whoever went elsewhere meanwhile is not taken back.
      if (departures !== before) return say("Done");
      if (!form.closest("[data-live]") || to !== location.pathname) return leave(to);
      await refresh();
      say("Done");
    } catch (error) {
      const text = error instanceof TypeError ? UNREACHABLE : error.message;
      if (place) tell(place, text);
      else say(text, true);
    } finally {
      form.removeAttribute("aria-busy");
      buttons.forEach((button) => (button.disabled = false));
    }
  }

  // Dialogs, tabs, copying

  function open(button) {
    const dialog = document.getElementById(button.dataset.open);
    if (button.dataset.action) {
      dialog.querySelector("form").setAttribute("action", button.dataset.action);
      dialog.querySelectorAll("[data-named]").forEach((place) => (place.textContent = button.dataset.name));
    }
    dialog.querySelectorAll("form > .error").forEach((place) => tell(place, ""));
    dialog.showModal();
    dialog.dispatchEvent(new CustomEvent("custody:open"));
  }

  function choose(tab) {
    for (const other of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      if (tab.closest("[data-tabs]")) document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    tab.dispatchEvent(new CustomEvent("custody:tab", { bubbles: true }));
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Off TLS and loopback browsers give pages no clipboard; what is selected can be copied by key.
      getSelection().selectAllChildren(source);
      return say("Selected: copy it with your keyboard");
    }
    button.textContent = "Copied";
    say("Copied");
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || button.disabled) return;
    if (button.dataset.open) open(button);
    else if (button.dataset.copy) copy(button);
    else if ("close" in button.dataset) button.closest("dialog").close();
    else if (button.getAttribute("role") === "tab") choose(button);
  });

  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest("[role=tab]");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tab || !step) return;
    const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]:not(:disabled)")];
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    event.preventDefault();
    next.focus();
    choose(next);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-form]");
    if (!form) return;
    event.preventDefault();
    send(form);
  });

  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  begin(document);
  keepUp();
  return { refresh, say, tell, message, UNREACHABLE, csrf: () => document.querySelector("meta[name=csrf]").content };
})();
