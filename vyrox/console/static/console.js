// The console's only script. It changes texts, never markup.
"use strict";
(() => {
  const body = document.body;
  const find = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  let ahead = Number(body.dataset.now) * 1000 - Date.now(); // of this clock, the service's
  let busy = false;
  let preparing = 0;

  // What people read
  const say = (text, kind = "") => {
    const status = find("status");
    status.textContent = text;
    status.className = kind;
  };
  const sayAfter = (text, path = location.pathname) => {
    sessionStorage.setItem("said", text);
    if (path === location.pathname) location.reload();
    else location.assign(path);
  };
  const said = sessionStorage.getItem("said");
  sessionStorage.removeItem("said");
  if (said) say(said, "good");
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done"); // said once: not again after a reload
    history.replaceState(null, "", address.pathname + address.search + address.hash);
  }

  const duration = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    if (minutes >= 2880) return `${Math.floor(minutes / 1440)} days`;
    if (minutes >= 120) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    if (minutes >= 10) return `${minutes} min`;
    return minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`;
  };
  const written = new WeakMap();
  const showTimes = () => {
    const now = (Date.now() + ahead) / 1000;
    const today = `${new Date(now * 1000).toISOString().slice(0, 10)} `;
    for (const each of all("[data-at], [data-until]")) {
      if (!written.has(each)) written.set(each, each.textContent);
      const at = Number(each.dataset.at || each.dataset.until);
      const moment = written.get(each).replace(today, "");
      const away = at > now ? `in ${duration(at - now)}` : `${duration(now - at)} ago`;
      const left = at > now ? `${duration(at - now)} left` : "time is over";
      const text = each.dataset.until ? `${left}, ${moment}`
        : "exact" in each.dataset ? `${moment} (${away})` : `${away} (${moment})`;
      if (each.textContent !== text) each.textContent = text;
    }
  };
  if (body.dataset.now) {
    showTimes();
    setInterval(showTimes, 1000);
  }

  // Bytes in JSON. Not every browser in use has parseRequestOptionsFromJSON.
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const described = (list = []) => list.map((each) => ({ ...each, id: bytes(each.id) }));
  const decoded = ({ challenge, user, allowCredentials, excludeCredentials, ...rest }) => ({
    publicKey: {
      ...rest,
      challenge: bytes(challenge),
      ...(user && { user: { ...user, id: bytes(user.id) } }),
      allowCredentials: described(allowCredentials),
      excludeCredentials: described(excludeCredentials),
    },
  });
  const answerOf = (credential, names) => ({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response: Object.fromEntries(names.map((name) => [name, encode(credential.response[name])])),
  });
  const sign = async (options) =>
    answerOf(await navigator.credentials.get(decoded(options)),
      ["clientDataJSON", "authenticatorData", "signature"]);
  const make = async (options) =>
    answerOf(await navigator.credentials.create(decoded(options)),
      ["clientDataJSON", "attestationObject"]);
  const hasPasskeys = Boolean(window.PublicKeyCredential && navigator.credentials);

  // The service
  const refusals = {
    401: "This was not accepted, and nothing was recorded. Reload the page and try again. If it is refused again, you may not decide on this, or your passkey is not confirmed yet.",
    403: "This was refused: open the console at its own address, in your browser.",
    404: "This is not there any more. Reload the page.",
    503: "The service is busy or away. Nothing may have been recorded: reload, then try again.",
  };
  const post = async (path, content) => {
    let response;
    try {
      response = await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(content),
      });
    } catch {
      throw new Error("The service cannot be reached. Reload the page before you try again.");
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const known = answer.message || refusals[response.status];
    throw new Error(known || `This did not work (${answer.detail || response.status}). Reload the page.`);
  };
  const explained = (error) => {
    if (error.name === "NotAllowedError")
      return "No passkey was used, so nothing was recorded. You can try again.";
    if (error.name === "InvalidStateError") return "This device has a passkey of yours already.";
    if (error.name === "SecurityError")
      return "This browser makes no passkey for this address. Open the console at its own address.";
    return error.message;
  };
  // `work` must ask for the passkey before it waits for anything: else some browsers refuse it.
  const onClick = (button, work) => {
    if (!button) return;
    button.addEventListener("click", async () => {
      if (busy) return;
      busy = true;
      say("Your device asks for your passkey.");
      try {
        await work();
      } catch (error) {
        say(explained(error), "bad");
      } finally {
        busy = false;
      }
    });
  };
  const enable = (buttons, on = true) => buttons.forEach((each) => { each.disabled = !on; });

  // Signs a statement that the page has fetched before the click, and posts it.
  const onSigned = async (button, from, to, then) => {
    if (!button) return;
    try {
      const { statement, options } = await post(from, {});
      button.disabled = !hasPasskeys;
      onClick(button, async () => then(await post(to, { statement, response: await sign(options) })));
    } catch (error) {
      say(explained(error), "bad");
    }
  };

  if (!hasPasskeys && all("button.main[type=button]").length)
    say("This browser, or the app that shows this page, cannot use passkeys. Open this address in your browser: Safari, Chrome, Edge or Firefox.", "bad");

  const pages = {
    sign_in() {
      const button = find("sign-in");
      enable([button], hasPasskeys);
      const { options, challenge } = JSON.parse(button.dataset.ceremony);
      onClick(button, async () => {
        await post("/sign-in", { challenge, response: await sign(options) });
        const back = location.hash.slice(1);
        location.replace(/^\/(?!\/)[\w.~%/?=&+:@-]*$/.test(back) ? back : "/");
      });
    },

    link() {
      const field = find("secret");
      field.value = location.hash.slice(1); // a person presses the button: programs open links too
      if (field.value) history.replaceState(null, "", location.pathname);
    },

    async enrol() {
      const secret = location.hash.slice(1);
      const button = find("enrol");
      let opened;
      try {
        opened = await post("/enrol/open", { secret });
      } catch {
        find("for-whom").textContent = "";
        say("This link is used, too old, or not complete. Ask the operator for a new one.", "bad");
        return;
      }
      find("for-whom").textContent = `For ${opened.approver}, approver of ${opened.tenant_id}.`;
      enable([button], hasPasskeys);
      onClick(button, async () => {
        const response = await make(opened.options);
        const key = await post("/enrol", { secret, response });
        history.replaceState(null, "", location.pathname);
        for (const part of key.thumbprint.match(/.{1,4}/g)) {
          const group = document.createElement("span"); // a gap to read it aloud, and none to copy
          group.textContent = part;
          find("thumbprint").append(group);
        }
        find("command").textContent = key.command;
        find("asking").hidden = true;
        find("made").hidden = false;
        say("");
      });
    },

    proposal() {
      const buttons = all("[data-decision]");
      const comment = find("comment");
      if (!buttons.length) return;
      let issued = null;
      let timer = 0;
      const prepare = async () => {
        const text = comment.value;
        try {
          const answer = await post(`${location.pathname}/statements`, { comment: text });
          if (text !== comment.value) return; // a later call is on its way
          issued = answer;
          enable(buttons, hasPasskeys);
        } catch (error) {
          say(explained(error), "bad");
        }
      };
      comment.addEventListener("input", () => {
        enable(buttons, false);
        clearTimeout(timer);
        timer = setTimeout(prepare, 400);
      });
      for (const button of buttons)
        onClick(button, async () => {
          const { statement, options } = issued[button.dataset.decision];
          const response = await sign(options);
          enable(buttons, false);
          say("Vyrox records your decision.");
          try {
            const { state, is_drill: isDrill } = await post(location.pathname, { statement, response });
            sayAfter(isDrill ? "Recorded. This was a drill: nothing will be done." : {
              pending: "Recorded: you approved. One more person must approve.",
              rejected: "Recorded: you rejected it. Nothing will be done.",
            }[state] || "Recorded: you approved. This page shows what comes of it.");
          } catch (error) {
            comment.value = "";
            await prepare(); // a statement is used once, also by a refusal
            throw error;
          }
        });
      clearInterval(preparing); // of the page before it was refreshed
      preparing = setInterval(() => busy || prepare(), 240000); // a statement lives for ten minutes
      prepare();
    },

    keys() {
      onSigned(find("add-key"), "/keys/statement", "/keys/add", ({ secret }) =>
        location.assign(`/enrol#${secret}`));
      for (const each of all("[data-remove]")) {
        const { options, challenge } = JSON.parse(each.dataset.ceremony);
        onClick(each, async () => {
          const response = await sign(options);
          await post("/keys/remove", { credential_id: each.dataset.remove, challenge, response });
          sayAfter("The passkey is removed.");
        });
      }
    },

    freeze() {
      const button = find("unfreeze");
      if (!button) return;
      const { options, challenge } = JSON.parse(button.dataset.ceremony);
      const path = `/tenants/${button.dataset.tenant}`;
      enable([button], hasPasskeys);
      onClick(button, async () => {
        const { done } = await post(`${path}/unfreeze`, { challenge, response: await sign(options) });
        location.assign(`${path}?done=${done}`);
      });
    },

    glass() {
      const path = location.pathname;
      onSigned(find("acknowledge"), `${path}/statement`, path, ({ acknowledged_by: by }) =>
        sayAfter(`Recorded: ${by} has acknowledged it.`, "/"));
    },

    change() {
      const path = location.pathname;
      onSigned(find("endorse"), `${path}/statement`, path, ({ remaining }) =>
        sayAfter(remaining ? "Recorded. Others must agree too." : "Recorded: the change is made.", "/"));
    },
  };
  const begin = pages[body.dataset.page] || (() => {});
  begin();

  // A page with a version shows by itself that something has changed: within 5 s while the person
  // is there, else within a minute. What has the focus keeps it, and stays where it is on the screen.
  let usedAt = Date.now();
  let askedAt = 0;
  let told = "";
  const focusable = "a[href], button, input, select, textarea, summary";
  const nameOf = (each) =>
    [each.tagName, each.id, each.getAttribute("href"), each.name, each.value,
      each.form && each.form.getAttribute("action"), each.tagName === "SUMMARY" && each.textContent].join(" ");
  const sameIn = (page, each) => {
    const alike = (root) => [...root.querySelectorAll(focusable)].filter((other) => nameOf(other) === nameOf(each));
    return alike(page)[alike(find("main")).indexOf(each)];
  };
  const isFilledIn = () =>
    all("main input:not([type=hidden]), main textarea, main select").some((each) =>
      each === document.activeElement ||
      (each.type === "checkbox" || each.type === "radio" ? each.checked !== each.defaultChecked
        : each.options ? [...each.options].some((one) => one.selected !== one.defaultSelected) && each.selectedIndex > 0
          : each.value !== each.defaultValue));
  const show = (page) => {
    const old = find("main");
    const made = page.getElementById("main");
    const focused = old.contains(document.activeElement) && document.activeElement !== old
      ? document.activeElement : null;
    const isUnsafe = focused && (focused.type === "button" || !sameIn(made, focused));
    if (isUnsafe || isFilledIn() || !getSelection().isCollapsed) {
      if (told !== page.body.dataset.version) say("This page has changed: reload it to see how.");
      told = page.body.dataset.version;
      return;
    }
    const seen = focused || [...old.querySelectorAll(focusable)].find((each) => each.getBoundingClientRect().top >= 0);
    const same = seen && sameIn(made, seen);
    const top = seen && seen.getBoundingClientRect().top;
    const opened = [...old.querySelectorAll("details[open] > summary")].map((each) => sameIn(made, each));
    opened.filter(Boolean).forEach((each) => { each.parentElement.open = true; });
    made.querySelector("#status").replaceWith(find("status"));
    old.replaceChildren(...made.childNodes);
    document.title = page.title;
    body.dataset.version = page.body.dataset.version;
    ahead = Number(page.body.dataset.now) * 1000 - Date.now();
    showTimes();
    old.style.marginTop = old.style.minHeight = "";
    const moved = () => same.getBoundingClientRect().top - top;
    if (same) scrollBy({ top: moved(), behavior: "instant" });
    if (focused) {
      same.focus({ preventScroll: true });
      if (moved() < 0) old.style.marginTop = `${-moved()}px`; // a short page does not scroll
      if (moved() > 0) old.style.minHeight = `${old.offsetHeight + moved()}px`;
      scrollBy({ top: moved(), behavior: "instant" });
    }
    begin();
  };
  const refresh = () => {
    const pause = Date.now() - usedAt < 300000 ? 0 : 55000;
    if (busy || document.hidden || Date.now() - askedAt < pause) return;
    askedAt = Date.now();
    const asked = new XMLHttpRequest(); // it parses a page without a sink for markup
    asked.open("GET", location.pathname + location.search);
    asked.responseType = "document";
    asked.setRequestHeader("if-none-match", `"${body.dataset.version}"`);
    asked.onload = () => {
      if ([304, 429, 503].includes(asked.status) || busy) return;
      if (asked.status === 200 && asked.response) show(asked.response);
      else location.reload(); // the session has ended, or this is not here any more
    };
    asked.send();
  };
  if (body.dataset.version) {
    setInterval(refresh, 4000);
    document.addEventListener("visibilitychange", refresh);
    for (const kind of ["pointerdown", "keydown", "scroll", "visibilitychange"])
      document.addEventListener(kind, () => { usedAt = Date.now(); }, { passive: true });
  }

  // Keys, which a person can turn off
  const help = find("shortcuts");
  if (help) {
    const isOn = find("shortcuts-on");
    isOn.checked = localStorage.getItem("shortcuts") !== "off";
    isOn.addEventListener("change", () => localStorage.setItem("shortcuts", isOn.checked ? "on" : "off"));
    find("show-shortcuts").hidden = false;
    find("show-shortcuts").addEventListener("click", () => help.showModal());
    const rows = () => all("main a.row, main .table tbody tr")
      .map((each) => (each.matches("a") ? each : each.querySelector("a[href]"))).filter((each) => each && each.checkVisibility());
    const move = (by) => {
      const found = rows();
      const row = document.activeElement.closest("main a.row, main .table tbody tr");
      const at = found.findIndex((each) => row && row.contains(each));
      const next = found[at < 0 ? (by > 0 ? 0 : found.length - 1) : at + by];
      if (next) next.focus();
    };
    const focus = (selector) => {
      const [button] = all(selector);
      if (button) button.focus();
    };
    const keys = {
      j: () => move(1),
      k: () => move(-1),
      a: () => focus("[data-decision=approve]"),
      r: () => focus("[data-decision=reject]"),
      "?": () => help.showModal(),
    };
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target.matches("input, textarea, select");
      if (event.ctrlKey || event.altKey || event.metaKey || isTyping || help.open || !isOn.checked) return;
      if (!Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
})();
