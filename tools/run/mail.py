"""Notices by e-mail, which never stop a training."""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from pathlib import Path
from typing import Any

from tools.run.process import SECRET
from tools.run.reading import check_structure, read_mapping

PORTS = {"none": 25, "starttls": 587, "ssl": 465}
"""Default port by security."""
KEYS = ("host", "port", "security", "user", "sender", "recipients")
VARIABLES = {key: f"RECON_SMTP_{key.upper()}" for key in KEYS}
"""Variables of the environment, which take precedence over the keys of a file."""
TIMEOUT_S = 10.0
"""Time limit for each answer of the server."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def read_mail_file(path: Path) -> dict[str, Any]:
    """Read a file of settings."""
    content = read_mapping(path)
    if secret := re.search(r"\w*(pass|pwd|secret)\w*(?=\W*:)", path.read_text(encoding="utf-8"), re.IGNORECASE):
        raise ValueError(
            f"{path}: {secret[0]}: a password in a file is read by others sooner or later; remove it and give it as "
            f"{SECRET} in the environment"
        )
    return content


def mail_settings(content: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a file, and over them those of the environment, all keys and the password included."""
    own = {key: environment[name] for key, name in VARIABLES.items() if environment.get(name)}
    given = {"security": "starttls", "user": "", **content, **own}
    if isinstance(given.get("recipients"), str):
        given["recipients"] = [given["recipients"]]
    if str(given.get("port")).isdecimal():
        given["port"] = int(given["port"])
    check_structure(given, "mail_file")
    given["recipients"] = [address for _, address in getaddresses(given["recipients"])]
    password = environment.get(SECRET, "")
    if bool(given["user"]) != bool(password):
        raise ValueError(f"expected a user and a password ({SECRET}) or neither, got only one; set the other")
    if password and given["security"] == "none" and given["host"] not in LOOPBACK:
        raise ValueError("security none would send the password in the clear; use starttls or ssl")
    return {"port": PORTS[given["security"]], **given, "password": password}


class Mailer:
    """Sender of notices; a failure is a warning on stderr, one line, once for each reason.

    Args:
        settings: server and addresses, see `mail_settings`; None to send none.
    """

    def __init__(self, settings: Mapping[str, Any] | None) -> None:
        self._settings = settings
        self._warned: set[str] = set()

    @classmethod
    def open(cls, content: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Mailer:
        """Make a mailer from a file's content and the environment; a warning and no mail if they are wrong."""
        mailer = cls(None)
        try:
            return cls(mail_settings(content, environment))
        except ValueError as error:
            mailer._warn(f"no e-mail will be sent, the settings are wrong: {error}")
            return mailer

    def send(self, subject: str, text: str) -> None:
        """Send a notice, or warn."""
        if self._settings is None:
            return
        host, port = self._settings["host"], self._settings["port"]
        try:
            if refused := _deliver(self._settings, subject, text):
                self._warn(f"an e-mail was not sent to {', '.join(refused)}: {host} refused")
        except smtplib.SMTPAuthenticationError as error:
            self._settings = None  # further attempts may close the account
            self._warn(f"no e-mail will be sent: {host} refused user and password: {error}")
        except (OSError, ValueError) as error:
            self._warn(f"an e-mail was not sent by {host}:{port}: {str(error) or type(error).__name__}")

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            with suppress(OSError):
                sys.stderr.write(f"warning: {' '.join(reason.split())}; the tasks go on\n")
                sys.stderr.flush()


def _deliver(settings: Mapping[str, Any], subject: str, text: str) -> list[str]:
    """Send a message; return the recipients that the server refused, if not all."""
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings["sender"]
    message["To"] = ", ".join(settings["recipients"])
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=settings["sender"].rpartition("@")[2].strip("<> "))
    message.set_content(text)
    place, trusted = (settings["host"], settings["port"]), ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(*place, timeout=TIMEOUT_S, context=trusted)
        if settings["security"] == "ssl"
        else smtplib.SMTP(*place, timeout=TIMEOUT_S)
    ) as server:
        if settings["security"] == "starttls":
            server.starttls(context=trusted)
        if settings["user"]:
            server.login(settings["user"], settings["password"])
        return list(server.send_message(message))
