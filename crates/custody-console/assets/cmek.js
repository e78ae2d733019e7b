// The dialog that adds an AWS KMS key. What the commands are, and whether a name or an ARN is right, the service says; here is
// only which step is shown. What was typed outlives a closed dialog, in this tab.
"use strict";

(() => {
  const dialog = document.getElementById("add-key");
  if (!dialog) return;
  const at = (id) => document.getElementById(id);
  const project = dialog.dataset.project;
  const store = `custody.cmek.${project}`;
  const keys = `/v2/projects/${encodeURIComponent(project)}/cmek`;
  const fields = ["role-name", "role-arn", "role-existing", "key-region", "key-arn", "key-label"];
  const NAMES = {
    assumeRole: "The role can be assumed with this project's external id",
    alias: "The alias leads to a key",
    externalId: "The role turns away whoever shows another external id, or none",
    describeKey: "The key is there, enabled and symmetric (kms:DescribeKey)",
    encrypt: "The key encrypts (kms:Encrypt)",
    decrypt: "The key decrypts what it has encrypted (kms:Decrypt)",
    clock: "The clock of this service agrees with AWS's",
  };

  // The roles by which keys of the project are reached, as the page has them now: a key that was added may have brought one.
  function roles() {
    const [field, chosen] = [at("role-existing"), at("role-existing").value];
    const known = [...at("known-roles").children].map((it) => it.textContent);
    field.replaceChildren(...known.map((arn) => new Option(arn)));
    if (known.includes(chosen)) field.value = chosen;
    at("tab-existing").disabled = !known.length;
    at("no-role").hidden = Boolean(known.length);
  }

  roles();
  const initial = Object.fromEntries(fields.map((id) => [id, at(id).value]));
  let [tab, step, running] = ["new", 1, null];

  const typed = (id) => at(id).value.trim();
  const isNew = () => tab === "new";
  const roleArn = () => (isNew() ? typed("role-arn") : typed("role-existing"));

  // What the service says of what is typed

  async function setup(values) {
    const query = new URLSearchParams({ provider: "aws", regionId: typed("key-region") });
    for (const [name, value] of Object.entries(values)) if (value) query.set(name, value);
    try {
      const response = await fetch(`${keys}/setup?${query}`, { credentials: "same-origin" });
      if (!response.ok) return { error: await custody.message(response) };
      return { shown: (await response.json()).data };
    } catch {
      return { error: custody.UNREACHABLE };
    }
  }

  const PARAMETERS = { "role-name": "roleName", "role-arn": "roleArn", "key-arn": "keyArn" };

  // Whether a field is right; it says so beside itself. An empty one is neither.
  async function check(id) {
    const [field, place, value] = [at(id), at(`${id}-error`), typed(id)];
    const { error } = value ? await setup({ [PARAMETERS[id]]: value }) : {};
    // Typed on meanwhile: that is looked at by itself.
    if (typed(id) !== value) return false;
    custody.tell(place, error ?? "");
    field.classList.toggle("right", Boolean(value) && !error);
    if (error) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    return Boolean(value) && !error;
  }

  let drawn = 0;
  async function draw() {
    const number = ++drawn;
    const name = isNew() ? typed("role-name") : "";
    const good = (id) => !at(id).hasAttribute("aria-invalid");
    const { shown, error } = await setup({
      roleName: good("role-name") ? name : "",
      roleArn: !isNew() || good("role-arn") ? roleArn() : "",
      keyArn: good("key-arn") ? typed("key-arn") : "",
    });
    if (number !== drawn) return;
    custody.tell(at("setup-error"), error ?? "");
    const put = (id, text, missing) => {
      at(id).textContent = text ?? missing;
      at(id).classList.toggle("missing", text === undefined);
      for (const button of dialog.querySelectorAll(`[data-copy="${id}"]`)) button.disabled = text === undefined;
    };
    const told = shown ?? {};
    put("trust-file", told.trustPolicyFile ?? "role-trust-policy.json");
    put("trust-policy", told.trustPolicy, "");
    put("create-role", told.createRoleCommand, "Enter the role's name first");
    put("create-key", told.createKeyCommand, "");
    put("policy-file", told.rolePolicyFile ?? "role-policy.json");
    put("role-policy", told.rolePolicy, "Paste the key's ARN first");
    put("put-policy", told.putRolePolicyCommand, "Paste the key's ARN first");
    put("key-statement", told.keyPolicyStatement, "Paste the key's ARN first");
  }

  // Steps

  function show() {
    at("tab-new").setAttribute("aria-selected", String(isNew()));
    at("tab-existing").setAttribute("aria-selected", String(!isNew()));
    at("tab-new").tabIndex = isNew() ? 0 : -1;
    at("tab-existing").tabIndex = isNew() ? -1 : 0;
    at("panel").setAttribute("aria-labelledby", isNew() ? "tab-new" : "tab-existing");
    const last = !isNew() || step === 3;
    at("steps").hidden = !isNew();
    at("step-1").hidden = !isNew() || step !== 1;
    at("step-role").hidden = isNew();
    at("step-2").hidden = isNew() && step !== 2;
    at("step-3").hidden = !last;
    at("back").hidden = !isNew() || step === 1;
    at("next").hidden = last;
    at("validate").hidden = at("add").hidden = !last;
    for (const item of at("steps").children) {
      const number = Number(item.dataset.step);
      item.classList.toggle("done", number < step);
      if (number === step) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
  }

  function go(to) {
    step = to;
    show();
    save();
    at(`step-${to}-title`).focus();
  }

  // Whether a field is filled in and right. Beside it stands what is not.
  async function isGiven(id) {
    if (await check(id)) return true;
    if (!typed(id)) {
      at(id).setAttribute("aria-invalid", "true");
      custody.tell(at(`${id}-error`), `Needed before the next step: ${at(id).labels[0].textContent.toLowerCase()}`);
    }
    return false;
  }

  // A second click while the first is under way would skip a step.
  let moving = false;
  async function next() {
    if (moving) return;
    moving = true;
    try {
      await leave(step);
    } finally {
      moving = false;
    }
  }

  async function leave(from) {
    for (const id of from === 1 ? ["role-name", "role-arn"] : ["key-arn"]) {
      if (await isGiven(id)) continue;
      if (step === from) at(id).focus();
      return;
    }
    await draw();
    if (step === from && isNew() && dialog.open) go(from + 1);
  }

  // What was typed outlives a closed dialog

  function save() {
    const values = Object.fromEntries(fields.map((id) => [id, at(id).value]));
    sessionStorage.setItem(store, JSON.stringify({ tab, step, values }));
  }

  function restore() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(store));
    } catch {
      sessionStorage.removeItem(store);
    }
    if (!kept) return;
    for (const id of fields) {
      const [field, value] = [at(id), kept.values?.[id] ?? ""];
      const known = field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value);
      if (known) field.value = value;
    }
    tab = at("tab-existing").disabled || kept.tab !== "existing" ? "new" : "existing";
    step = [1, 2, 3].find((it) => it === kept.step) ?? 1;
  }

  const isTouched = () => step > 1 || ["role-name", "role-arn", "key-arn"].some(typed);

  function clear() {
    sessionStorage.removeItem(store);
    for (const id of fields) {
      at(id).value = initial[id];
      at(id).classList.remove("right");
      at(id).removeAttribute("aria-invalid");
      if (at(`${id}-error`)) custody.tell(at(`${id}-error`), "");
    }
    roles();
    [tab, step] = ["new", 1];
    at("resumed").hidden = true;
    forget();
    show();
    draw();
  }

  // Validate and Add

  function forget() {
    running?.abort();
    running = null;
    at("checks").replaceChildren();
    custody.tell(at("verdict"), "");
    custody.tell(at("waiting"), "");
    at("add").disabled = true;
    at("validate").disabled = false;
    at("validate").classList.add("primary");
  }

  function line({ name, ok, skipped, message }) {
    const known = at(`check-${name}`);
    const item = known ?? at("checks").appendChild(document.createElement("li"));
    const state = ok ? "passed" : skipped ? "skipped" : "failed";
    item.id = `check-${name}`;
    item.className = state;
    item.replaceChildren();
    const [head, word] = [item.appendChild(document.createElement("span")), document.createElement("strong")];
    head.textContent = `${NAMES[name] ?? name} `;
    word.textContent = state;
    head.append(word);
    if (message) {
      const mend = item.appendChild(document.createElement("p"));
      mend.textContent = message;
    }
    // The first time alone: whoever scrolls away while AWS is asked again is left there.
    if (!known) reveal(item);
  }

  // The dialog's foot lies over its end; the dialog keeps that free.
  const reveal = (item) => item?.scrollIntoView({ block: "nearest" });

  function ends(validation) {
    const passed = validation.valid;
    custody.tell(at("verdict"), passed ? "" : "The key can't be added yet: mend what is red above, and validate again");
    custody.tell(at("waiting"), passed ? "Every check passed: add the key" : "");
    at("add").disabled = !passed;
    at("validate").classList.toggle("primary", !passed);
    reveal(passed ? at("waiting") : at("checks").querySelector(".failed"));
    if (passed) at("add").focus({ preventScroll: true });
  }

  function event(told) {
    if (told.check) line(told.check);
    if (told.waiting) custody.tell(at("waiting"), `AWS may not have spread a change yet: trying again for ${told.waiting.secondsLeft} s`);
    if (told.validation) ends(told.validation);
    if (told.error) custody.tell(at("verdict"), told.error.message);
  }

  const body = () =>
    JSON.stringify({
      provider: "aws", regionId: typed("key-region"), keyArn: typed("key-arn"), roleArn: roleArn(),
      ...(typed("key-label") ? { name: typed("key-label") } : {}),
    });

  const post = (path, more) =>
    fetch(keys + path, {
      method: "POST", credentials: "same-origin", body: body(),
      headers: { "content-type": "application/json", "x-csrf-token": custody.csrf(), ...more.headers }, signal: more.signal,
    });

  async function validate() {
    forget();
    running = new AbortController();
    const { signal } = running;
    at("validate").disabled = true;
    const given = await isGiven("key-arn");
    if (signal.aborted) return;
    if (!given) {
      at("validate").disabled = false;
      if (isNew()) go(2);
      return at("key-arn").focus();
    }
    custody.tell(at("waiting"), "Validating");
    reveal(at("waiting"));
    try {
      const response = await post("/keys/validate", { headers: { accept: "application/x-ndjson" }, signal });
      if (!response.ok) throw new Error(await custody.message(response));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.forEach((text) => event(JSON.parse(text)));
      }
    } catch (error) {
      if (signal.aborted) return;
      custody.tell(at("waiting"), "");
      custody.tell(at("verdict"), error instanceof TypeError ? custody.UNREACHABLE : error.message);
    } finally {
      if (!signal.aborted) at("validate").disabled = false;
    }
  }

  async function add() {
    at("add").disabled = true;
    custody.tell(at("waiting"), "Adding: every check is made once more");
    try {
      const response = await post("/keys", {});
      if (!response.ok) throw new Error(await custody.message(response));
      clear();
      dialog.close();
      await custody.refresh();
      custody.say("The key was added");
    } catch (error) {
      custody.tell(at("waiting"), "");
      custody.tell(at("verdict"), error instanceof TypeError ? custody.UNREACHABLE : error.message);
    }
  }

  // Wiring

  const timers = new Map();
  function later(id, work) {
    clearTimeout(timers.get(id));
    timers.set(id, setTimeout(work, 200));
  }

  dialog.addEventListener("input", ({ target }) => {
    if (!fields.includes(target.id)) return;
    save();
    if (target.id !== "key-label") forget();
    later(target.id, async () => {
      if (PARAMETERS[target.id]) await check(target.id);
      // Another region may be the key's, or not.
      if (target.id === "key-region" && typed("key-arn")) await check("key-arn");
      await draw();
    });
  });
  dialog.addEventListener("custody:tab", ({ target }) => {
    tab = target.id === "tab-new" ? "new" : "existing";
    forget();
    show();
    save();
    draw();
  });
  dialog.addEventListener("custody:open", () => {
    at("resumed").hidden = !isTouched();
    show();
    draw();
  });
  dialog.addEventListener("close", forget);
  document.addEventListener("custody:updated", ({ target }) => {
    if (target.id === "known-roles") roles();
  });
  at("start-over").addEventListener("click", clear);
  at("next").addEventListener("click", next);
  at("back").addEventListener("click", () => {
    forget();
    go(step - 1);
  });
  at("validate").addEventListener("click", validate);
  at("add").addEventListener("click", add);
  restore();
  // It was opened while this script was on its way.
  if (dialog.open) dialog.dispatchEvent(new CustomEvent("custody:open"));
})();
