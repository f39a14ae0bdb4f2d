"""Notices by e-mail: to a server on this machine, and what happens when there is none."""

import shutil
import socket
import ssl
import subprocess
import sys
from email import message_from_bytes
from email.policy import default

import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from quick_bundle import PROGRAM, table, write_list, write_quick_bundle

from tools.__main__ import commands
from tools.command import run_commands
from tools.run import mail, process

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
SETTINGS = {"host": "127.0.0.1", "security": "none", "sender": "gpu@example.org", "recipients": ["me@example.org"]}
ADDRESSES = {"sender": "gpu@example.org", "recipients": ["me@example.org"]}


class Inbox:
    """Messages that a server has received."""

    def __init__(self):
        self.messages = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802, the server's name for it
        if address.startswith("nobody"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 OK"

    @property
    def subjects(self):
        return [message["Subject"] for _, message in self.messages]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve():
    """Starts servers on the loopback address: port and inbox."""
    running = []

    def begin(**options):
        inbox = Inbox()
        server = Controller(inbox, hostname=options.pop("hostname", "127.0.0.1"), port=free_port(), **options)
        server.start()
        running.append(server)
        return server.port, inbox

    yield begin
    for server in running:
        server.stop()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (*mail.VARIABLES.values(), process.SECRET):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_quick_bundle(tmp_path / "bundle")
    monkeypatch.setattr(process, "PROGRAM", PROGRAM)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder, tasks, settings=None, **further):
    words = ["run", str(write_list(folder / "list.yaml", tasks, **further))]
    if settings is not None:
        (folder / "mail.yaml").write_text(yaml.safe_dump(settings))
        words += ["--mail", str(folder / "mail.yaml")]
    return run_commands(commands(words), "tools", words)


def test_notices_of_start_end_and_failure_arrive(folder, serve, capsys):
    port, inbox = serve()
    tasks = [
        {"name": "good", "predict": {"table": table(folder / "m.csv", [0.7, 0.9])}},
        {"name": "quiet", "mail": False},
        {"name": "broken", "train": {"how": "fails"}},
    ]
    assert run(folder, tasks, {**SETTINGS, "port": port, "recipients": "A <a@example.org>, b@example.org"}) == 1
    assert "warning" not in capsys.readouterr().err
    assert inbox.subjects == [
        "[recon] tasks list: started",
        "[recon] task good: started",
        "[recon] task good: done",
        "[recon] task broken: started",
        "[recon] task broken: failed",
        "[recon] tasks list: ended, 2 of 3 tasks done",
    ]
    recipients, message = inbox.messages[2]
    assert recipients == ["a@example.org", "b@example.org"]
    assert (message["From"], message["To"]) == ("gpu@example.org", "a@example.org, b@example.org")
    assert message.get_content().splitlines()[0].endswith(", psnr 32.00, ssim 0.8000")
    text = inbox.messages[4][1].get_content()
    assert "training failed: data: expected images, got none; draw some" in text
    assert "epoch 1" in text
    assert "| good    | 1 " in inbox.messages[5][1].get_content()


def test_a_stopped_list_says_so(folder, serve, monkeypatch):
    port, inbox = serve()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.run.job.run_bundle", stop)
    assert run(folder, [{"name": "a"}], {**SETTINGS, "port": port}) == 130
    assert inbox.subjects[-1] == "[recon] tasks list: interrupted"


def test_settings_come_from_the_environment_too(folder, serve, monkeypatch):
    port, inbox = serve()
    given = {**SETTINGS, "port": port, "recipients": "me@example.org, you@example.org"}
    for key, value in given.items():
        monkeypatch.setenv(mail.VARIABLES[key], str(value))
    assert run(folder, [{"name": "a", "type": "train"}]) == 0
    assert inbox.messages == []  # nobody asked
    assert run(folder, [{"name": "b", "type": "train"}], mail=True) == 0
    assert len(inbox.messages) == 4
    assert inbox.messages[0][0] == ["me@example.org", "you@example.org"]


def test_user_and_password_of_the_environment_are_used(folder, serve, monkeypatch, capsys):
    def check(server, session, envelope, mechanism, login):
        return AuthResult(success=(login.login, login.password) == (b"me", b"right"), handled=False)

    port, inbox = serve(authenticator=check, auth_required=True, auth_require_tls=False)
    settings = {**SETTINGS, "port": port, "user": "me"}
    monkeypatch.setenv(process.SECRET, "right")
    assert run(folder, [{"name": "a", "type": "train"}], settings) == 0
    assert len(inbox.messages) == 4
    monkeypatch.setenv(process.SECRET, "Wr0ng")
    assert run(folder, [{"name": "b", "type": "train"}], settings) == 0
    assert len(inbox.messages) == 4
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("warning: no e-mail will be sent: 127.0.0.1 refused user and password: (535, ")
    assert "Wr0ng" not in captured.out + captured.err


@pytest.fixture
def certificate(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("needs the program openssl, for a certificate of this machine")
    files = [str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", files[0], "-out", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    return context, files[1]


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_encryption_needs_a_trusted_certificate(serve, certificate, security, monkeypatch, capsys):
    context, file = certificate
    options = {"ssl_context": context} if security == "ssl" else {"tls_context": context, "require_starttls": True}
    port, inbox = serve(hostname="localhost", **options)
    mailer = mail.Mailer.open({"host": "localhost", "port": port, "security": security, **ADDRESSES})
    mailer.send("first", "unknown certificate")
    (line,) = capsys.readouterr().err.splitlines()
    assert "certificate verify failed" in line
    monkeypatch.setenv("SSL_CERT_FILE", file)
    mailer.send("second", "trusted certificate")
    assert inbox.subjects == ["second"]
    assert capsys.readouterr().err == ""


WRONG_SETTINGS = [
    (ADDRESSES, "host: missing"),
    *(({**SETTINGS, "host": host}, "host: ") for host in ("", "smtp://me:1234@x")),
    *(({**SETTINGS, "port": port}, "port: expected 1 to 65535") for port in (0, "smtp")),
    ({**SETTINGS, "security": "tls"}, "security: expected none, starttls or ssl, got 'tls'"),
    ({**SETTINGS, "recipients": []}, "recipients: "),
    ({**SETTINGS, "recipients": ["me"]}, "recipients: 0: "),
    ({**SETTINGS, "sender": "a@b\nBcc: c@d"}, "sender: "),
    ({**SETTINGS, "user": "me"}, "expected a user and a password (RECON_SMTP_PASSWORD) or neither, got only one"),
    ({**SETTINGS, "recipient": "x"}, "unknown key 'recipient'"),
]


@pytest.mark.parametrize(("settings", "warning"), WRONG_SETTINGS)
def test_wrong_settings_are_a_warning(settings, warning, capsys):
    mail.Mailer.open(settings).send("subject", "text")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: no e-mail will be sent, the settings are wrong: {warning}")
    assert "1234" not in line


def test_a_server_that_is_not_there_is_one_warning_and_the_training_goes_on(folder, capsys):
    port = free_port()
    assert run(folder, [{"name": "a"}, {"name": "b"}], {**SETTINGS, "port": port}) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: an e-mail was not sent by 127.0.0.1:{port}: ")
    assert line.endswith("Connection refused; the tasks go on")


def test_a_server_that_never_answers_is_given_up(monkeypatch, capsys):
    monkeypatch.setattr(mail, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail.Mailer.open({**SETTINGS, "port": silent.getsockname()[1]}).send("subject", "text")
    assert "timed out; the tasks go on" in capsys.readouterr().err


def test_a_refused_recipient_does_not_keep_the_others_waiting(serve, capsys):
    port, inbox = serve()
    mailer = mail.Mailer.open({**SETTINGS, "port": port, "recipients": ["me@example.org", "nobody@example.org"]})
    mailer.send("subject", "Grüße, 1 µm")
    assert inbox.messages[0][0] == ["me@example.org"]
    assert inbox.messages[0][1].get_content().rstrip() == "Grüße, 1 µm"
    assert "an e-mail was not sent to nobody@example.org: 127.0.0.1 refused" in capsys.readouterr().err


def test_a_password_in_a_file_is_refused_before_anything_runs(folder, capsys):
    for settings in ({"password": "x1y2"}, {"smtp_passwd": "x1y2"}, {"user": {"Password": "x1y2"}}):
        assert run(folder, [{"name": "a"}], {**SETTINGS, **settings}) == 1
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith(f"error: {folder / 'mail.yaml'}: ")
        assert "RECON_SMTP_PASSWORD" in line
        assert "x1y2" not in captured.out + captured.err
    assert not (folder / "out").exists()


def test_a_password_is_not_sent_in_the_clear_and_ports_follow_from_the_security():
    environment = {process.SECRET: "hidden"}
    settings = {**SETTINGS, "user": "me"}
    with pytest.raises(ValueError, match="security none would send the password in the clear"):
        mail.mail_settings({**settings, "host": "smtp.example.org"}, environment)
    assert mail.mail_settings(settings, environment)["password"] == "hidden"
    for security, port in {"none": 25, "starttls": 587, "ssl": 465}.items():
        assert mail.mail_settings({**SETTINGS, "security": security}, {})["port"] == port
    del settings["security"]
    assert mail.mail_settings(settings, environment)["security"] == "starttls"


def test_the_command_reads_lists_without_importing_pytorch():
    code = "import sys, tools.run.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
