"""May an agent work in a directory: is it installed, logged in, past its first-run dialogs, and trusted there."""

from __future__ import annotations

import re


def judge(profile: dict, facts: dict, trusted: bool | None, environ: dict, now: float) -> dict:
    """The `auth` of a row, from `login.facts`. ok, logged_in, trusted, onboarded: true, false, or null for unknown."""
    status = facts["status"] or {}
    config = facts["config"]
    value = status.get("value") if isinstance(status.get("value"), dict) else None
    logged_in, method, source = login(profile, facts, value, environ)
    onboarded = onboarding(profile, config)
    if facts["legacy"] and value is not None:
        trusted = value.get("hasTrustDialogAccepted") is True
        onboarded = value.get("hasCompletedProjectOnboarding") is True
    missing = []
    if not facts["program"]:
        missing.append("installed")
    elif logged_in is False:
        missing.append("login")
    if trusted is False:
        missing.append(profile["login"]["trust"]["key"])
    if onboarded is False:
        missing.append("hasCompletedProjectOnboarding" if facts["legacy"] else profile["login"]["onboarding"])
    if sandbox := sandbox_missing(profile, facts, environ):
        missing.append(sandbox)
    known = [logged_in, trusted] + ([onboarded] if profile["login"].get("onboarding") else [])
    sure = bool(facts["program"]) and None not in known
    return {
        "ok": False if missing else True if sure else None,
        "installed": bool(facts["program"]),
        "version": facts["version"],
        "logged_in": logged_in,
        "method": method,
        "expires_at": expiry(value),
        "trusted": trusted,
        "onboarded": onboarded,
        "missing": missing,
        "source": source,
        "error": trouble(profile, facts, status),
        "mend": mend(profile, missing),
        "checked_at": now,
    }


def login(profile: dict, facts: dict, value: dict | None, environ: dict) -> tuple[bool | None, str | None, str | None]:
    """(logged in, by which method, who says so)."""
    words = profile["login"]
    command = " ".join([profile["command"][0], *words["status"]])
    if (key := provider(facts["config"])) is not None:
        return not key or bool(environ.get(key)), key or "none", "config"
    if value is not None and isinstance(value.get("loggedIn"), bool):
        return value["loggedIn"], value.get("authMethod"), command
    if facts["status"] and not facts["legacy"]:
        return None, None, command  # it did not answer, or in words that we do not know
    # A version without a login check: a credential that is there is all that can be seen.
    for name in words["environment"]:
        if environ.get(name) and name.endswith(("_KEY", "_TOKEN")):
            return True, name, "environment"
    if facts["credential"] and not facts["credential"].endswith(":-"):
        return True, "file", "credentials"
    return None, None, None


def probed(profile: dict, auth: dict, said: dict | None) -> dict:
    """An `auth` after a real call of the model, with `probed`: true when it was answered, false when the login was
    rejected, null when that cannot be told (no probe is known, no answer in time, another error)."""
    if said is None:
        return {**auth, "probed": None, "ok": auth["ok"] and None, "error": "no probe is known for this agent"}
    if said.get("rc") == 0:
        return {**auth, "probed": True}
    words = f"{said.get('text', '')}\n{said.get('err', '')}"
    if any(re.search(pattern, words) for pattern in profile["login"].get("rejected", [])):
        missing = [*auth["missing"], *({"login"} - set(auth["missing"]))]
        return {**auth, "probed": False, "ok": False, "logged_in": False, "missing": missing, "source": "probe",
                "mend": auth["mend"] or mend(profile, missing)}  # fmt: skip
    late = f"the probe did not end within {said['timeout']:g} s" if "timeout" in said else None
    why = late or said.get("error") or f"the probe failed: {words.strip().rpartition(chr(10))[2][:200]}"
    return {**auth, "probed": None, "ok": auth["ok"] and None, "error": why}


def provider(config: dict | None) -> str | None:
    """The variable that holds the key of a model provider of the config's own (Codex), which needs no login with the
    vendor; "" when it takes no key, None when there is none."""
    table, name = (config or {}).get("model_providers"), (config or {}).get("model_provider")
    entry = table.get(name) if isinstance(table, dict) and isinstance(name, str) else None
    if not isinstance(entry, dict) or entry.get("requires_openai_auth"):
        return None
    return str(entry.get("env_key") or "")


def onboarding(profile: dict, config: dict | None) -> bool | None:
    """Whether the first-run dialogs are behind us; None for an agent that has none, or whose config cannot be read."""
    key = profile["login"].get("onboarding")
    return None if not key or config is None else config.get(key) is True


def expiry(value: dict | None) -> float | None:
    at = (value or {}).get("loginExpiresAt")
    return at / 1000 if isinstance(at, (int, float)) and at > 1e11 else at if isinstance(at, (int, float)) else None


def sandbox_missing(profile: dict, facts: dict, environ: dict) -> str | None:
    """The variable without which the program refuses to skip permissions for root."""
    needed = profile["launch"].get("root_needs")
    if not needed or not profile["skip_permissions"] or not facts["root"]:
        return None
    return None if (profile["env"].get(needed) or environ.get(needed)) in ("1", "true") else needed


def trouble(profile: dict, facts: dict, status: dict) -> str | None:
    """Why something could not be told, in one line."""
    if not facts["program"]:
        return f"{profile['command'][0]} is not on PATH"
    if "timeout" in status:
        return f"the login check did not answer within {status['timeout']:g} s"
    if "error" in status:
        return f"the login check could not be run: {status['error']}"
    if facts["status"] and not isinstance(status.get("value"), dict):
        return f"the login check's answer is not understood: {' '.join(status.get('text', '').split())[:80]!r}"
    if facts["config"] is None:
        return "the agent's config file cannot be read"
    return None


def mend(profile: dict, missing: list[str]) -> str | None:
    """What a person can do about it."""
    if "installed" in missing:
        return f"install {profile['title']} and put '{profile['command'][0]}' on PATH"
    if profile["launch"].get("root_needs") in missing:
        return f'set {profile["launch"]["root_needs"]} = "1" in [agents.{profile["name"]}.env], or run as another user'
    if missing == [profile["login"]["trust"]["key"]]:
        return 'accept the dialog once in the directory; with trust = "given" tmo-start does it'
    return profile["login"]["mend"] if missing else None
