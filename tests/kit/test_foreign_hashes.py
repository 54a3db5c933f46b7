"""Hashes that other systems made: each opens with its password, is bounded in cost, and breaks nothing."""

import re
import time

import bcrypt
import pytest
from argon2 import PasswordHasher, Type
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from api.kit import foreign_hashes
from api.kit.foreign_hashes import judge, verify

PASSWORD = "p\u00e4ssword 1"
# Made by Django 5.2.19, libpass 1.9.4, Werkzeug 3.1.9 and argon2-cffi 25.1.0.
MADE = {
    "Django PBKDF2": "pbkdf2_sha256$1000$LvSmqhmR126gYswY4D7Fj3$mRIiMrPf/74aUPjWue50oNos/0A+HI1oABhDajTPdAE=",
    "Django PBKDF2, SHA-1": "pbkdf2_sha1$1000$lLYy7pvToHyljHZyfsQ64r$IYj4eyMhAgGlnUnA8an9Sj/48+0=",
    "Django scrypt": "scrypt$1024$Xb9wUk3DHsB62xufDUmU1D$8$5"
    "$WEib9nnVsYGaMDiMP2YyG5pFwnTSfa33r70qaU4vb0zjv8tdTDv2tbwgH7m2yzkho6jt/+xjx+/3rLVG55NoFQ==",
    "Django bcrypt": "bcrypt$$2b$04$9fiPMdp2BGhbrhSAzQ.Ypu/XOGm5x/AuZyusqefMrIBxJdltYmagC",
    "Django bcrypt of SHA-256": "bcrypt_sha256$$2b$04$zAXacL9OiRxRd5RgDLDWHuBSjJxu3Ma3KgGO2c47Y7AyYi2EVC7mC",
    "Django argon2": "argon2$argon2id$v=19$m=64,t=1,p=2$SlhIMUNhbjN5emNpWDBFQ2dZRGsxYw"
    "$G1BHVwlWox6zqrmDzjcynUvcdY0u15QhrDPJSm5TRP0",
    "passlib scrypt": "$scrypt$ln=8,r=8,p=1$O4cwBkDoXQthzBkj5DwnxA"
    "$4ti/XCqS/df2HqVFBxFbjQixKq+nNtVi9Y2VNsrK+d8",
    "passlib PBKDF2, SHA-1": "$pbkdf2$1000$5LyXshbC.L.3NgbAeI8xhg$71TcQMfK01K0pf3k8Re41ECqxaU",
    "passlib PBKDF2": "$pbkdf2-sha256$1000$zVnLOYdQqhVC6H0vRegdQw"
    "$Ou8zDLxLnkkwBHpwXo1TaWV9Zk3CzXayRq6EejgvjoA",
    "passlib PBKDF2, SHA-512": "$pbkdf2-sha512$1000$AWDsvRdirFVqzbkXQgihlA"
    "$c9VK2lOAyHPReuXWmGDWX5V46ltEyXdca.1p48/AMfC3uF6V4caQp1soU3dEfyMUq3Jd.8fVYsA4mykmLCTv7A",
    "bcrypt 2a": "$2a$04$5YxRxQkItT/yPbnv.8wK3eCGr0SYzNAr.pR6mOFzidaV3d13p1P2q",
    "bcrypt 2b": "$2b$04$EvHFtIEQIYETtJCsxeOUtOA.bXBi5YkAQxYolKwWMv9YDLweEhUUu",
    "bcrypt 2y": "$2y$04$9rXBnQgrcLT7Tz816lh9..OKBSa6NOrHVFidw/wMilh7BnXUzP3hq",
    "Werkzeug scrypt": "scrypt:1024:8:1$B9ehBDWQzKVtS0Co$12a51178bc8551a8226e91fd5d36c7cb10d26460b4b6e4d4"
    "11cfecfc3899b8ff3b3024f0535e40454e679577e60311aefac35641f2728e00af03bf615a723df8",
    "Werkzeug PBKDF2": "pbkdf2:sha256:1000$nCwqfL1PiutSwwsy"
    "$5170580d136b0fd9e0154da83aedacbdf849484e1a620496d91588d102bb3e34",
    "Werkzeug PBKDF2, SHA-1": "pbkdf2:sha1:1000$PMcnbTxMy2VOZyxN$b966c60f464e9bef082c92d3b4001aed5d15448e",
    "argon2d": "$argon2d$v=19$m=64,t=1,p=2$EzUsUorWU6aw2iT69N/SiQ"
    "$wAxQ+u6yaD7elwAi1jI3G4DEMDoMlipc/QRCNdfQiUM",
    "argon2i": "$argon2i$v=19$m=64,t=1,p=2$zFchLIPz9xQn85mqjiCw6Q"
    "$TkmmXCLcwA8Bhk9jbqoKCusBQWdFub8g0drdNhhhdas",
    "argon2id": "$argon2id$v=19$m=64,t=1,p=2$rmPAY3xwkWwYBB3PoYNP1A"
    "$6/35jAirzglauCoHZN1lMrAhdCmWTKfqau+w9nbpMQc",
}
# The example of github.com/firebase/scrypt, in the form of Supabase's importer.
FIREBASE = (
    "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,"
    "sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
    "$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)
FIREBASE_PASSWORD = "user1password"
HEX_32, HEX_64 = "0f" * 32, "0f" * 64


@pytest.mark.parametrize("hashed", MADE.values(), ids=MADE)
def test_what_others_made_opens_with_its_password_alone(hashed: str) -> None:
    assert judge(hashed) is None
    assert verify(hashed, PASSWORD)
    assert not verify(hashed, f"{PASSWORD} ")
    assert not verify(hashed, PASSWORD.upper())


def test_firebases_published_example_opens() -> None:
    assert judge(FIREBASE) is None
    assert verify(FIREBASE, FIREBASE_PASSWORD)
    assert not verify(FIREBASE, "user2password")


def test_firebases_other_alphabet_is_read_as_well() -> None:
    """`firebase auth:export` writes the one into CSV files, the other into JSON."""
    assert verify(FIREBASE.replace("+", "-").replace("/", "_").replace("==", ""), FIREBASE_PASSWORD)


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_every_password_opens_what_was_made_of_it(password: str) -> None:
    argon2 = PasswordHasher(1, 64, 1, type=Type.I)
    for hashed in (
        generate_password_hash(password, "scrypt:1024:8:1"),
        generate_password_hash(password, "pbkdf2:sha512:10"),
        bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode(),
        argon2.hash(password),
    ):
        if len(hashed) <= foreign_hashes.MAXIMUM_LENGTH:
            assert verify(hashed, password)
            assert not verify(hashed, f"x{password}")


def test_bcrypt_sees_72_bytes_as_it_always_did() -> None:
    hashed = bcrypt.hashpw(b"b" * 72, bcrypt.gensalt(4)).decode()
    assert verify(hashed, "b" * 73)
    assert not verify(hashed, "b" * 71)


def test_the_bytes_that_bcrypt_sees_may_end_within_a_character() -> None:
    hashed = bcrypt.hashpw(("b" + "\u00e9" * 36).encode()[:72], bcrypt.gensalt(4)).decode()
    assert verify(hashed, "b" + "\u00e9" * 40)


@pytest.mark.parametrize(
    "hashed",
    [
        "$2b$15$" + "." * 53,
        "$2b$31$" + "." * 53,
        "pbkdf2_sha256$2000001$salt$" + "A" * 43 + "=",
        f"pbkdf2:sha256:9999999999$salt${HEX_32}",
        f"$pbkdf2-sha256$2000001$c2FsdHNhbHQ${'A' * 43}",
        f"scrypt:524288:8:1$salt${HEX_64}",
        f"scrypt:16384:8:17$salt${HEX_64}",
        f"scrypt:2:1000000000:1$salt${HEX_64}",
        f"scrypt:2:8:1000000000$salt${HEX_64}",
        f"scrypt$1073741824$salt$8$1${'A' * 88}",
        f"$scrypt$ln=63,r=8,p=1$c2FsdHNhbHQ${'A' * 43}",
        FIREBASE.replace("n=14", "n=99"),
        FIREBASE.replace("r=8", "r=999999"),
        f"$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2id$v=19$m=262144,t=5,p=1$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2i$v=19$m=4096,t=65,p=1$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2id$v=19$m=4096,t=1,p=17$c2FsdHNhbHQ${'A' * 43}",
        f"argon2$argon2id$v=19$m=4294967,t=1,p=1$c2FsdHNhbHQ${'A' * 43}",
    ],
    ids=lambda hashed: hashed[:30],
)
def test_what_costs_too_much_is_refused_and_never_evaluated(hashed: str) -> None:
    assert judge(hashed) == foreign_hashes.TOO_COSTLY
    begin = time.thread_time()
    assert not verify(hashed, PASSWORD)
    assert time.thread_time() - begin < 0.01


@pytest.mark.parametrize(
    "hashed",
    [
        "$2b$14$" + "." * 53,
        f"pbkdf2:sha512:2000000$salt${HEX_64}",
        f"scrypt:131072:8:2$salt${HEX_64}",
        f"$argon2id$v=19$m=262144,t=4,p=1$c2FsdHNhbHQ${'A' * 43}",
    ],
    ids=lambda hashed: hashed[:30],
)
def test_what_just_does_not_cost_too_much_is_accepted(hashed: str) -> None:
    assert judge(hashed) is None


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "!",
        "!unusable by Django",
        "plain",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "sha256$salt$5f4dcc3b",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "$1$salt$hash",
        "$6$rounds=5000$salt$hash",
        "$2b$12$abc",
        "$2b$03$" + "." * 53,
        "$2b$12$" + "a" * 53,
        "$2x$12$" + "." * 53,
        "$argon2id$",
        f"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${'A' * 21}",
        f"$argon2id$v=19$m=64,t=1,p=9$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2id$v=20$m=64,t=1,p=1$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2id$v=19$m=064,t=1,p=1$c2FsdHNhbHQ${'A' * 43}",
        f"$argon2id$v=19$m=-64,t=1,p=1$c2FsdHNhbHQ${'A' * 43}",
        "pbkdf2_sha256$1000$salt$" + "A" * 41,
        "pbkdf2_sha256$1000$salt$AAAA",
        "pbkdf2_sha256$0$salt$" + "A" * 43,
        "pbkdf2_md5$1000$salt$" + "A" * 22,
        f"pbkdf2:sha256$salt${HEX_32}",
        f"pbkdf2:sha256:1000$salt${HEX_32}0f",
        f"pbkdf2:sha256:1000$salt${HEX_32[:-1]}",
        f"pbkdf2:sha256:1000$${HEX_32}",
        f"scrypt:1000:8:1$salt${HEX_64}",
        f"scrypt:1:8:1$salt${HEX_64}",
        f"scrypt:65536:1:1$salt${HEX_64}",
        "scrypt:1024:8:1$salt$0f",
        f"scrypt:1024:8:1$s\u00e4lt${HEX_64}",
        f"scrypt:\u0661:8:1$salt${HEX_64}",
        FIREBASE.replace("v=1", "v=2"),
        f"{FIREBASE}\n",
    ],
    ids=lambda hashed: ascii(hashed)[:40],
)
def test_what_is_no_hash_is_refused_and_opens_to_nobody(hashed: str) -> None:
    assert judge(hashed) == foreign_hashes.UNKNOWN
    assert not verify(hashed, PASSWORD)


def test_what_the_column_cannot_hold_is_refused() -> None:
    assert judge(f"pbkdf2:sha512:1000${'s' * 128}${HEX_64}") == foreign_hashes.TOO_LONG


_HASHES = [*MADE.values(), FIREBASE]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_HASHES), st.data())
def test_a_damaged_hash_never_raises(hashed: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(hashed)))
    end = data.draw(st.integers(begin, min(begin + 3, len(hashed))))
    damaged = hashed[:begin] + data.draw(st.text(max_size=3)) + hashed[end:]
    if re.search(r"(=|\$|:)[0-9]{4,}", damaged) is None:  # as cheap as what was damaged
        verify(damaged, PASSWORD)
    judge(damaged)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert judge(text) is not None
    assert not verify(text, PASSWORD)
