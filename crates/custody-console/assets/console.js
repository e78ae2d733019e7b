// What every page does: times in the viewer's zone, parts that keep up with the service, forms, dialogs, tabs, copying.
"use strict";

const custody = (() => {
  const EVERY = 2000;
  const LONGEST_HOLD = 10000;
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

  // What was typed in this tab outlives its pages, and nobody who signs in after it: credentials of nodes are among it.
  function forgetTab() {
    const ours = Object.keys(sessionStorage).filter((name) => name.startsWith("custody."));
    ours.forEach((name) => sessionStorage.removeItem(name));
  }

  // Where one signs in; or where somebody else has, from another tab.
  const userOf = (page) => page.querySelector(".who .name")?.textContent;
  const isOther = userOf(document) !== undefined && userOf(document) !== sessionStorage.getItem("custody.user");
  if (isOther || document.querySelector('form[action="/sign-in"]')) forgetTab();
  if (isOther) sessionStorage.setItem("custody.user", userOf(document));

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

  const REACHABLE = "a, button, input, select, summary, pre, [tabindex]";

  // How a control is found again after its part was replaced: by its words only where nothing else tells it from others.
  const nameOf = (element) =>
    [element.tagName, element.id, element.dataset.copy, element.getAttribute("href"), element.getAttribute("aria-label"), element.getAttribute("value"),
      element.matches("[id], [data-copy], .scroll") ? "" : element.textContent].join("|");

  // Replaces what stands in a place. The focus, tables that were scrolled and details that were opened stay as they were.
  function keeping(place, change) {
    const focused = place.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    const scrolled = new Map([...place.querySelectorAll(".scroll")].map((it) => [nameOf(it), it.scrollLeft]));
    const open = new Set([...place.querySelectorAll("details[open]")].map((it) => it.id));
    const fresh = change();
    fresh.querySelectorAll("details").forEach((it) => (it.open = open.has(it.id)));
    fresh.querySelectorAll(".scroll").forEach((it) => (it.scrollLeft = scrolled.get(nameOf(it)) ?? 0));
    if (focused) [...fresh.querySelectorAll(REACHABLE)].find((it) => nameOf(it) === focused)?.focus({ preventScroll: true });
  }

  function replace(region, fresh) {
    localTimes(fresh);
    keeping(region, () => {
      region.replaceWith(fresh);
      return fresh;
    });
    if (fresh.dataset.choices) renew(document.getElementById(fresh.dataset.choices), [...fresh.cloneNode(true).children]);
    fresh.dispatchEvent(new CustomEvent("custody:updated", { bubbles: true }));
  }

  // Other choices for a field of a form, which keeps what was chosen as long as it can be.
  function renew(field, options) {
    const [chosen, told] = [field.value, (all) => [...all].map((it) => `${it.value} ${it.text}`).join("\n")];
    if (told(options) === told(field.options)) return;
    field.replaceChildren(...options);
    if (options.some((it) => it.value === chosen)) field.value = chosen;
  }

  // What somebody has in hand: what is selected would be lost, and so would a click between press and release. But not without
  // end: what has changed since would be hidden by it.
  const holds = new Map();
  function isHeld(region) {
    const selection = getSelection();
    const inHand = region.matches(":active") || (selection && !selection.isCollapsed && selection.containsNode(region, true));
    if (inHand && !holds.has(region.id)) holds.set(region.id, Date.now());
    const held = inHand && Date.now() - holds.get(region.id) < LONGEST_HOLD;
    if (!held) holds.delete(region.id);
    return held;
  }

  async function load(address) {
    const response = await fetch(address, { headers: { "x-console": "live" }, credentials: "same-origin", cache: "no-store" });
    if (response.status === 401) {
      leave(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
      return null;
    }
    // It is gone, or nothing for this user any more: the page itself says so.
    if (response.status === 404 || response.status === 403) {
      ended = true;
      location.reload();
      return null;
    }
    if (response.redirected) {
      leave(response.url);
      return null;
    }
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (userOf(page) === userOf(document)) return page;
    ended = true;
    location.reload();
    return null;
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

  // How old the page is while nothing newer comes; it stays until something does.
  let newest = new Date();
  function tellAge(lost) {
    const place = document.getElementById("stale");
    if (!lost) newest = new Date();
    if (lost !== place.hidden) return;
    tell(place, lost ? `Not updated since ${times.format(newest)}: the service can't be reached. Trying again` : "");
    if (!lost) say("Connected again");
  }

  async function keepUp() {
    while (!ended) {
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      if (document.hidden || ended || !regions().length) continue;
      try {
        await refresh();
        tellAge(false);
      } catch {
        tellAge(true);
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
    tellAge(false);
    scrollTo(0, 0);
    main.focus();
  }

  // Its buttons stay what they are to the keyboard: one that is disabled loses the focus.
  function setBusy(form, busy) {
    form.setAttribute("aria-busy", String(busy));
    form.querySelectorAll("button[type=submit]").forEach((button) => button.setAttribute("aria-disabled", String(busy)));
  }

  async function send(form) {
    if (form.getAttribute("aria-busy") === "true") return;
    const place = form.querySelector(".error");
    if (place) tell(place, "");
    setBusy(form, true);
    if (form.getAttribute("action") === "/sign-out") forgetTab();
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
      setBusy(form, false);
      // What was pressed may have gone with its part of the page.
      if (document.activeElement === document.body) document.getElementById("main").focus({ preventScroll: true });
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
  return { refresh, say, tell, keeping, renew, message, UNREACHABLE, csrf: () => document.querySelector("meta[name=csrf]").content };
})();
