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
      if (why) input.checked = false;
      any ||= !why;
    }
    at("no-key").hidden = any;
    keys.hidden = !cmek.checked;
  }

  function summary() {
    const key = form.querySelector("input[name=key]:checked");
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

  form.addEventListener("input", follow);
  follow();
})();
