"""Notices by e-mail, which never keep a training from going on."""

from __future__ import annotations

import os
import smtplib
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from pathlib import Path
from threading import Thread
from typing import Any

from tools.run.process import SECRET
from tools.run.reading import read_mapping

PORTS = {"none": 25, "starttls": 587, "ssl": 465}
"""By security, where no port is given."""
KEYS = ("host", "port", "security", "user", "sender", "recipients")
VARIABLES = {key: f"RECON_SMTP_{key.upper()}" for key in KEYS}
"""Of the environment, each before the file's key."""
TIMEOUT_S = 10.0
"""For each answer of the server."""
LIMIT_S = 30.0
"""For a whole notice."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class MailSettings:
    """Where notices go.

    Attributes:
        host: of the SMTP server.
        port: of the server.
        security: "none", "starttls" or "ssl".
        sender: address.
        recipients: addresses.
        user: to log in as; empty for none.
        password: of the user.
    """

    host: str
    port: int
    security: str
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)


def read_mail_file(path: Path) -> dict[str, Any]:
    """The content of a file of settings.

    Raises:
        ValueError: it is no YAML file, or holds a password.
    """
    content = read_mapping(path)
    if secret := [key for key in _keys(content) if any(word in key.lower() for word in ("pass", "pwd", "secret"))]:
        raise ValueError(
            f"{path}: {secret[0]}: a password in a file is read by others sooner or later; remove it and give it as "
            f"{SECRET} in the environment"
        )
    return content


def _keys(content: Any) -> list[str]:
    """All keys, also those of mappings within."""
    if isinstance(content, dict):
        return [*map(str, content), *(key for value in content.values() for key in _keys(value))]
    return [key for value in content for key in _keys(value)] if isinstance(content, list) else []


def mail_settings(content: Mapping[str, Any], environment: Mapping[str, str]) -> MailSettings:
    """Settings of a file, and over them those of the environment.

    Raises:
        ValueError: they cannot be used.
    """
    if unknown := [key for key in content if key not in KEYS]:
        raise ValueError(f"unknown key {unknown[0]!r}; expected {', '.join(KEYS)}")
    given = {**content, **{key: environment[name] for key, name in VARIABLES.items() if environment.get(name)}}
    security = given.get("security", "starttls")
    if security not in PORTS:
        raise ValueError(f"security: expected {', '.join(PORTS)}, got {security!r}")
    port = given.get("port", PORTS[security])
    if not str(port).isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"port: expected a number from 1 to 65535, got {port!r}")
    texts = {}
    for key in ("host", "sender", "user"):
        texts[key] = given.get(key, "")
        if not isinstance(texts[key], str) or texts[key] != texts[key].strip() or (not texts[key] and key != "user"):
            raise ValueError(f"{key}: expected a text, got {given.get(key)!r}; set it or {VARIABLES[key]}")
    if "@" in texts["host"] or "/" in texts["host"]:  # not repeated: an address may have a password in it
        raise ValueError("host: expected the name of a server such as smtp.example.org, got an address")
    asked = given.get("recipients", [])
    listed = [asked] if isinstance(asked, str) else asked
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
        raise ValueError(f"recipients: expected addresses, got {asked!r}; set it or {VARIABLES['recipients']}")
    recipients = tuple(address for _, address in getaddresses(listed))
    for address in (texts["sender"], *recipients):
        if "@" not in address or not address.isprintable():
            raise ValueError(f"expected an address such as name@example.org, got {address!r}")
    password = environment.get(SECRET, "")
    if bool(texts["user"]) != bool(password):
        raise ValueError(f"expected a user and a password ({SECRET}) or neither, got only one; set the other")
    if password and security == "none" and texts["host"] not in LOOPBACK:
        raise ValueError("security none would send the password in the clear; use starttls or ssl")
    return MailSettings(texts["host"], int(port), security, texts["sender"], recipients, texts["user"], password)


class Mailer:
    """Sends notices; a failure is a warning on stderr, one line, once for each reason.

    Args:
        settings: where to; None to send none.
    """

    def __init__(self, settings: MailSettings | None) -> None:
        self._settings = settings
        self._told: set[str] = set()

    @classmethod
    def open(cls, content: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Mailer:
        """A mailer by a file's content and the environment; if they cannot be used, one that warns and sends none."""
        mailer = cls(None)
        try:
            return cls(mail_settings(content, environment))
        except ValueError as error:
            mailer._warn(f"no e-mail will be sent, the settings are wrong: {error}")
            return mailer

    def send(self, subject: str, text: str) -> None:
        """Send a notice, or warn; returns after `LIMIT_S` at the latest, finding the server's name included."""
        if self._settings is None:
            return
        # a thread, because no time limit of sockets holds for finding the server's name
        thread = Thread(target=self._try, args=(self._settings, subject, text), daemon=True)
        thread.start()
        thread.join(LIMIT_S)
        if thread.is_alive():
            self._warn(f"an e-mail was not sent: {self._settings.host} was too slow")

    def _try(self, settings: MailSettings, subject: str, text: str) -> None:
        try:
            refused = _deliver(settings, subject, text)
        except smtplib.SMTPAuthenticationError as error:
            self._settings = None  # further attempts may close the account
            self._warn(f"no e-mail will be sent: {settings.host} refused user and password: {_text(error)}")
        except (OSError, ValueError) as error:
            self._warn(f"an e-mail was not sent by {settings.host}:{settings.port}: {_text(error)}")
        else:
            if refused:
                self._warn(f"an e-mail was not sent to {', '.join(refused)}: {settings.host} refused")

    def _warn(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            with suppress(OSError):
                sys.stderr.write(f"warning: {' '.join(reason.split())}; the tasks go on\n")
                sys.stderr.flush()


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _deliver(settings: MailSettings, subject: str, text: str) -> list[str]:
    """Send a message; returns the recipients that the server refused, if not all."""
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.recipients)
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
    message.set_content(text)
    place = (settings.host, settings.port)
    trusted = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(*place, timeout=TIMEOUT_S, context=trusted)
        if settings.security == "ssl"
        else smtplib.SMTP(*place, timeout=TIMEOUT_S)
    ) as server:
        if settings.security == "starttls":
            server.starttls(context=trusted)
        if settings.user:
            server.login(settings.user, settings.password)
        return list(server.send_message(message))
