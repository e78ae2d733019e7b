// Create cluster: which regions and keys go together, and the summary. What is refused in the end, the service refuses.
"use strict";

(() => {
  const form = document.getElementById("create");
  if (!form) return;
  const at = (id) => document.getElementById(id);
  const [provider, region, cmek, keys] = ["provider", "region", "cmek", "keys"].map(at);

  function regions() {
    const mine = (option) => option.dataset.provider === provider.value;
    for (const option of region.options) option.hidden = option.disabled = !mine(option);
    if (!mine(region.selectedOptions[0])) region.value = [...region.options].find(mine).value;
  }

  // The keys as the page has them now, with what was chosen among them.
  function renew() {
    const [list, chosen] = [at("key-choices"), form.querySelector("input[name=key]:checked")?.value];
    custody.keeping(list, () => {
      list.replaceChildren(at("known-keys").content.cloneNode(true));
      return list;
    });
    for (const input of list.querySelectorAll("input")) if (chosen !== undefined) input.checked = input.value === chosen;
  }

  function usable() {
    if (!keys) return;
    let any = false;
    for (const choice of keys.querySelectorAll("[data-region]")) {
      const here = choice.dataset.region === region.value;
      const why = !here ? `Unavailable: it is in ${choice.dataset.region}, and a cluster's key must be in its region`
        : choice.dataset.why ? `Unavailable: ${choice.dataset.why}` : "";
      const input = choice.querySelector("input");
      choice.querySelector(".why").textContent = why;
      choice.classList.toggle("off", Boolean(why));
      input.disabled = Boolean(why);
      any ||= !why;
    }
    at("no-key").hidden = any;
    keys.hidden = !cmek.checked;
  }

  function summary() {
    const key = form.querySelector("input[name=key]:checked:enabled");
    at("sum-name").textContent = at("cluster-name").value || "–";
    at("sum-region").textContent = region.selectedOptions[0].textContent;
    at("sum-cu").textContent = `${at("cu-size").value} CU, ${at("cu-type").value}`;
    at("sum-cmek").textContent = !cmek.checked ? "Off: stored in plain text" : key ? `On, under ${key.dataset.name}` : "On: choose a key";
  }

  function follow() {
    regions();
    usable();
    summary();
  }

  // Into which cluster a backup is restored: each way has a form of its own.
  for (const way of document.querySelectorAll("input[name=way]")) {
    way.addEventListener("input", () => {
      form.hidden = way.value !== "new";
      at("into").hidden = way.value !== "existing";
    });
  }

  form.addEventListener("input", follow);
  document.addEventListener("custody:updated", ({ target }) => {
    if (target.id !== "known-keys") return;
    renew();
    follow();
  });
  follow();
})();
