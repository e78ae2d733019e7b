// Names, rows and searches: asked of the cluster's node itself, with a credential that its user types here. It stays in this
// tab; neither it nor what comes back goes to the control plane.
"use strict";

(() => {
  const data = document.getElementById("data");
  if (!data) return;
  const at = (id) => document.getElementById(id);
  const { node, cluster, project, origins } = data.dataset;
  const store = `custody.node.${cluster}`;
  const EVERY = 10000;
  let zones = new Map(); // The name of each zone's database, by the beginning of the zone's id.

  function make(tag, text, properties = {}) {
    const element = Object.assign(document.createElement(tag), properties);
    if (text !== undefined) element.append(text);
    return element;
  }

  function table(name, columns, rows) {
    const head = make("tr");
    head.append(...columns.map((name) => make("th", name, { scope: "col" })));
    const body = make("tbody");
    for (const cells of rows) {
      const row = body.appendChild(make("tr"));
      cells.forEach((cell, number) => {
        const place = row.appendChild(make("td", cell));
        place.dataset.label = columns[number];
        place.className = "break";
      });
    }
    const whole = make("table", undefined, { className: "stack" });
    whole.append(make("thead", head), body);
    const around = make("div", whole, { className: "scroll", tabIndex: 0 });
    around.setAttribute("role", "group");
    around.setAttribute("aria-label", name);
    return around;
  }

  // Anew only if it says something else: who reads there keeps the place.
  function put(place, fresh) {
    if (place.firstElementChild?.isEqualNode(fresh)) return;
    custody.keeping(place, () => {
      place.replaceChildren(fresh);
      return place;
    });
  }

  const short = (value) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return text.length > 120 ? `${text.slice(0, 120)}…` : text;
  };

  // The node

  const kept = () => JSON.parse(sessionStorage.getItem(store) ?? "null");

  class Refused extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

  async function ask(path, body = {}) {
    const credential = kept();
    if (!credential) throw new Refused(0, "The credential was taken back");
    let response;
    try {
      response = await fetch(`${node}/v2/vectordb/${path}`, {
        method: "POST", mode: "cors", credentials: "omit", cache: "no-store",
        headers: { authorization: `Bearer ${credential.user}:${credential.password}`, "content-type": "application/json", "accept-type-allow-int64": "false" },
        body: JSON.stringify(body),
      });
    } catch {
      const here = origins.split(" ").includes(location.origin);
      const why = here ? "look whether the cluster serves, and whether this browser reaches its endpoint"
        : `it takes calls from pages at ${origins.split(" ").join(" and ")} alone: open the console there`;
      throw new Refused(0, `The node at ${node} did not answer this page: ${why}`);
    }
    const text = await response.text();
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Refused(response.status, `The node's answer can't be read (status ${response.status}): try again`);
    }
    if (response.status === 401) throw new Refused(401, "The node refuses this user name or password: type them again");
    if (!response.ok || answer.code !== 0) throw new Refused(response.status, answer.message ?? `status ${response.status}`);
    return { data: answer.data, text };
  }

  // The overview: databases and collections

  async function collections(name) {
    const { data: found } = await ask("collections/list", { dbName: name });
    return Promise.all(found.map(async (collection) => {
      const [stats, state] = await Promise.all([
        ask("collections/get_stats", { dbName: name, collectionName: collection }),
        ask("collections/get_load_state", { dbName: name, collectionName: collection }),
      ]);
      const hash = new URLSearchParams({ db: name, name: collection });
      const link = make("a", collection, { href: `/projects/${project}/clusters/${cluster}/collection#${hash}`, className: "name" });
      return [name, link, String(stats.data.rowCount), state.data.loadState === "LoadStateLoaded" ? "loaded" : "not loaded"];
    }));
  }

  async function database(name) {
    try {
      const { text } = await ask("databases/describe", { dbName: name });
      // The number is the beginning of the zone's id, and too large for a double.
      const number = /"dbID":\s*(\d+)/.exec(text)?.[1];
      if (number) zones.set(BigInt(number).toString(16).padStart(15, "0"), name);
      const rows = await collections(name);
      return rows.length ? rows : [[name, "–", "–", "no collection yet"]];
    } catch (error) {
      if (error.status === 503) return [[name, "–", "–", "sealed"]];
      throw error;
    }
  }

  function nameZones() {
    for (const cell of document.querySelectorAll("[data-zone]")) {
      const id = cell.dataset.zone.replaceAll("-", "");
      const name = zones.get(id.slice(0, 15));
      const hint = /^0+$/.test(id) ? "the cluster's own" : cell.dataset.unnamed;
      if (cell.textContent !== (name ?? hint)) cell.replaceChildren(name ?? make("span", hint, { className: "hint" }));
    }
  }

  async function overview() {
    const { data: names } = await ask("databases/list");
    zones = new Map();
    const rows = (await Promise.all(names.map(database))).flat();
    put(at("databases"), table("Databases and collections", ["Database", "Collection", "Rows", "State"], rows));
    nameZones();
  }

  // A collection

  const asked = () => new URLSearchParams(location.hash.slice(1));
  let first = null;

  const target = () => ({ dbName: asked().get("db") ?? "default", collectionName: asked().get("name") ?? "" });

  function facts(pairs) {
    at("facts").replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  }

  const wordsOf = (field) =>
    [field.primaryKey && "primary key", field.autoId && "auto id", field.nullable && "nullable", field.partitionKey && "partition key"].filter(Boolean).join(", ") || "–";
  const parametersOf = (field) => (field.params ?? []).map(({ key, value }) => `${key} ${value}`).join(", ") || "–";

  function schema(fields) {
    const rows = fields.map((it) => [it.name, it.type, parametersOf(it), wordsOf(it)]);
    put(at("schema"), table("Schema", ["Field", "Type", "Parameters", "Properties"], rows));
    const vectors = fields.filter((field) => field.type.endsWith("Vector")).map((field) => field.name);
    custody.renew(at("search-field"), vectors.map((name) => new Option(name)));
  }

  async function indexes(names) {
    const details = await Promise.all(names.map((it) => ask("indexes/describe", { ...target(), indexName: it.indexName })));
    const rows = details.flatMap((it) => it.data)
      .map((it) => [it.indexName, it.fieldName, it.indexType, it.metricType, `${it.indexedRows} of ${it.totalRows}`, it.indexState]);
    const columns = ["Index", "Field", "Type", "Metric", "Rows indexed", "State"];
    put(at("indexes"), rows.length ? table("Indexes", columns, rows) : make("p", "No index"));
  }

  async function collection() {
    const [described, stats] = await Promise.all([ask("collections/describe", target()), ask("collections/get_stats", target())]);
    const { load, partitionsNum } = described.data;
    facts([
      ["Database", target().dbName],
      ["Rows", String(stats.data.rowCount)],
      ["Load state", load === "LoadStateLoaded" ? "loaded" : "not loaded"],
      ["Partitions", String(partitionsNum)],
    ]);
    schema(described.data.fields);
    await indexes(described.data.indexes);
    at("collection").hidden = false;
    await rows();
  }

  async function rows() {
    try {
      const { data: found } = await ask("entities/query", { ...target(), filter: "", limit: 10, outputFields: ["*"] });
      first = found[0] ?? null;
      put(at("rows"), listed("First rows", found, "No row yet"));
    } catch (error) {
      if (!error.status || error.status === 503) throw error;
      first = null;
      put(at("rows"), make("p", error.message, { className: "hint" }));
    }
    at("use-first").disabled = !first;
  }

  function listed(name, found, none) {
    if (!found.length) return make("p", none);
    const columns = [...new Set(found.flatMap(Object.keys))];
    return table(name, columns, found.map((row) => columns.map((column) => (row[column] === undefined ? "–" : short(row[column])))));
  }

  async function search() {
    custody.tell(at("search-error"), "");
    try {
      const vector = JSON.parse(at("search-vector").value);
      if (!Array.isArray(vector)) throw new SyntaxError();
      const { data: found } = await ask("entities/search", {
        ...target(), data: [vector], annsField: at("search-field").value, limit: Number(at("search-limit").value), outputFields: ["*"],
      });
      at("found").replaceChildren(make("h3", `${found.length} found`), listed("What was found", found, "Nothing was found"));
    } catch (error) {
      custody.tell(at("search-error"), error instanceof SyntaxError ? "That is no JSON list of numbers, such as [0.1, 0.2]" : error.message);
    }
  }

  // The credential

  const work = at("databases") ? overview : collection;

  function show(error = "") {
    const known = kept();
    custody.tell(at("data-error"), error);
    at("credential").hidden = Boolean(known);
    at("connected").hidden = !known;
    at("node-name").textContent = known?.user ?? "";
  }

  async function connect() {
    const asked = sessionStorage.getItem(store);
    if (!asked) return show();
    let refused = null;
    try {
      await work();
    } catch (error) {
      refused = error;
    }
    const now = sessionStorage.getItem(store);
    // This credential was taken back meanwhile, or another one was given: what came of it is nobody's any more.
    if (!now) return forget();
    if (now !== asked) return;
    if (refused?.status === 401) forget();
    // Sealed, or dark: a node that has nothing open any more answers no page.
    const dark = refused && (!refused.status || refused.status === 503);
    if (dark) empty();
    show(dark ? `Nothing is shown: ${refused.message}` : refused?.message);
  }

  // Leaves no name and no row on the page.
  function empty() {
    zones = new Map();
    first = null;
    for (const id of ["databases", "facts", "schema", "indexes", "rows", "found"]) at(id)?.replaceChildren();
    if (at("collection")) at("collection").hidden = true;
    nameZones();
  }

  function forget() {
    sessionStorage.removeItem(store);
    at("search")?.reset();
    empty();
    show();
  }

  at("credential").addEventListener("submit", async (event) => {
    event.preventDefault();
    sessionStorage.setItem(store, JSON.stringify({ user: at("node-user").value, password: at("node-password").value }));
    at("node-password").value = "";
    await connect();
  });
  at("forget").addEventListener("click", forget);
  document.querySelector(".who").addEventListener("submit", forget);
  at("search")?.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  at("use-first")?.addEventListener("click", () => {
    const vector = first?.[at("search-field").value];
    if (vector) at("search-vector").value = JSON.stringify(vector);
  });
  document.addEventListener("custody:updated", nameZones);
  if (at("collection-name")) at("collection-name").textContent = asked().get("name") ?? "";
  setInterval(() => {
    if (!document.hidden && kept()) connect();
  }, EVERY);
  nameZones();
  connect();
})();
