"""Completes words in a shell: commands and options by Click, and here keys, their values and runs.

docs/command-line.md has the line for each shell.
"""

import glob
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete, add_completion_class

from convmixer.errors import UserError

Keys = dict[str, list[str]]  # what each key can be; nothing where any text or number can be given
STATUSES = ("running", "completed", "interrupted", "crashed", "killed", "unknown", "damaged")
REFERENCES = {"last": "the run that was begun or resumed last", "best": "the best run on the same data as the last"}


def complete_overrides(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete KEY= and, after it, the words or files that the key takes."""
    keys = _keys(ctx)
    name, equals, text = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{key}=") for key in keys if key.startswith(incomplete)]
    values = [*keys.get(name, ()), *(_files(text) if name.endswith("path") else ())]
    if name == "pretrained":
        values += [item.value for item in complete_run_or_file(ctx, _, text)]
    return [CompletionItem(f"{name}={value}") for value in values if value.startswith(text)]


def complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete `last`, `best` and the uuids of runs, the newest first."""
    from convmixer.tracking.runs import all_runs

    named = [CompletionItem(name, help=text) for name, text in REFERENCES.items() if name.startswith(incomplete)]
    with suppress(UserError, OSError):
        for run in reversed(all_runs()):
            if run.uuid.startswith(incomplete):
                short = run.uuid if len(incomplete) >= 8 else run.uuid[:8]
                named.append(CompletionItem(short, help=run.folder.parent.name))
    return named


def complete_run_or_file(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete runs and .safetensors files."""
    files = [file for file in _files(incomplete) if file.endswith((".safetensors", "/"))]
    return [*complete_run(ctx, _, incomplete), *map(CompletionItem, files)]


def complete_file(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete files and folders."""
    return list(map(CompletionItem, _files(incomplete)))


def complete_filters(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete NAME= of what `runs` can choose by, and the statuses."""
    from convmixer.tracking.facts import FIELDS

    name, equals, _text = incomplete.partition("=")
    if equals and name == "status":
        return [CompletionItem(f"status={word}") for word in STATUSES if f"status={word}".startswith(incomplete)]
    fields = [] if equals else [CompletionItem(f"{field}=") for field in FIELDS if field.startswith(incomplete)]
    return fields + complete_overrides(ctx, _, incomplete)


def complete_runs_and_filters(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete what chooses runs: the runs themselves, and NAME=."""
    return ([] if "=" in incomplete else complete_run(ctx, _, incomplete)) + complete_filters(ctx, _, incomplete)


def _files(beginning: str) -> list[str]:
    """Return the files and folders whose paths begin so; a folder's ends with a slash."""
    found = sorted(glob.glob(glob.escape(beginning) + "*"))
    return [f"{path}/" if Path(path).is_dir() else path for path in found]


def _keys(ctx: click.Context) -> Keys:
    """Return all keys; ours from a file, as importing them takes seconds."""
    if ctx.obj is not None:
        return _described(ctx.obj)
    import platformdirs

    file = platformdirs.user_cache_path("convmixer-lab") / f"keys-{_version()}.json"
    with suppress(OSError, ValueError):
        return json.loads(file.read_text())
    from convmixer.configs import Configs

    keys = _described(Configs)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(keys))
    return keys


def _described(configs_class: Any) -> Keys:
    from convmixer.configs.keys import keys_of

    words = {bool: ["true", "false"]}
    return {name: [*key.choices, *words.get(key.type, [])] for name, key in keys_of(configs_class).items()}


def _version() -> str:
    """Return a name for this version of the package: it changes with each of its files."""
    files = sorted(Path(__file__).resolve().parents[1].rglob("*.py"))
    return hashlib.sha256(repr([(str(f), f.stat().st_mtime_ns) for f in files]).encode()).hexdigest()[:16]


class Bash(BashComplete):
    """Bash, which takes `KEY=VALUE` for three words, and may be at `python experiment.py` or `convmixer`."""

    source_template = r"""
%(complete_func)s() {
    local words=("${COMP_WORDS[@]}") cword=$COMP_CWORD program=("${COMP_WORDS[0]}")
    if [[ ${words[0]##*/} != "%(prog_name)s" ]]; then
        [[ ${words[1]##*/} == "%(prog_name)s" && $cword -ge 2 ]] || return 0
        program=("${words[@]:0:2}") words=("${words[@]:1}") cword=$((cword - 1))
    fi
    local IFS=$'\n' line
    for line in $(env COMP_WORDS="${words[*]}" COMP_CWORD=$cword %(complete_var)s=bash_complete "${program[@]}"); do
        case $line in
            plain,*=) compopt -o nospace; COMPREPLY+=("${line#*,}") ;;
            plain,*/) compopt -o nospace; COMPREPLY+=("${line#*,}") ;;
            plain,*) COMPREPLY+=("${line#*,}") ;;
            *) compopt -o default ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s "%(prog_name)s"
[[ "%(prog_name)s" != *.py ]] || complete -o nosort -o bashdefault -o default -F %(complete_func)s python python3
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and the beginning of that one."""
        args, incomplete = super().get_completion_args()
        words = joined([*args, incomplete])
        self._incomplete = words[-1]
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Return what Bash puts in place of its last word, which begins after the `=`."""
        before, equals, _ = self._incomplete.rpartition("=")
        return f"{item.type},{item.value.removeprefix(before + equals)}"


def joined(words: Sequence[str]) -> list[str]:
    """Join the words `KEY`, `=`, `VALUE` of Bash to one."""
    whole: list[str] = []
    for word in words:
        if whole and (word == "=" or whole[-1].endswith("=")):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


class Zsh(ZshComplete):
    """Zsh, with no blank after `KEY=`, and at `python experiment.py` as well as at `convmixer`."""

    source_template = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a program response names described open ours
    local kind value help cword=$((CURRENT - 1))
    ours=("${words[@]}")
    program=("${words[1]}")
    if [[ ${words[1]:t} != "%(prog_name)s" ]]; then
        if [[ ${words[2]:t} != "%(prog_name)s" ]] || (( CURRENT < 3 )); then
            (( $+functions[_python] )) || autoload -Uz _python
            _python "$@"
            return
        fi
        program=("${words[1]}" "${words[2]}") ours=("${words[@]:1}") cword=$((CURRENT - 2))
    fi
    response=("${(@f)$(env COMP_WORDS="${ours[*]}" COMP_CWORD=$cword %(complete_var)s=zsh_complete "${program[@]}")}")
    for kind value help in ${response}; do
        if [[ $kind != plain ]]; then _path_files
        elif [[ $value == *[=/] ]]; then open+=("$value")
        elif [[ $help == _ ]]; then names+=("$value")
        else described+=("$value:$help")
        fi
    done
    [[ -n $described ]] && _describe -V unsorted described -U
    [[ -n $names ]] && compadd -U -V unsorted -a names
    [[ -n $open ]] && compadd -U -S '' -V unsorted -a open
}
compdef %(complete_func)s %(prog_name)s
[[ "%(prog_name)s" != *.py ]] || compdef %(complete_func)s python python3
"""


class Fish(FishComplete):
    """Fish, at `python experiment.py` as well as at `convmixer`; the program need not be on the PATH."""

    source_template = r"""
function %(complete_func)s_words
    set -l words (commandline -opc)
    test (path basename -- $words[1]) = "%(prog_name)s"; or set -e words[1]
    string join \n -- $words
end

function %(complete_func)s_applies
    set -l words (commandline -opc)
    set -q words[2]; and test (path basename -- $words[2]) = "%(prog_name)s"
end

function %(complete_func)s
    set -l program (commandline -opc)[1]
    %(complete_func)s_applies; and set program (commandline -opc)[1 2]
    set -l words (%(complete_func)s_words) (commandline -t)
    for line in (env %(complete_var)s=fish_complete COMP_WORDS="$words" COMP_CWORD=(commandline -t) $program)
        set -l parts (string split -m 1 "," -- $line)
        test $parts[1] = plain; and echo $parts[2]
    end
end

complete --no-files --command "%(prog_name)s" --arguments "(%(complete_func)s)"
if string match -q "*.py" -- "%(prog_name)s"
    for python in python python3
        complete --no-files --command $python --condition %(complete_func)s_applies --arguments "(%(complete_func)s)"
    end
end
"""


add_completion_class(Bash)
add_completion_class(Zsh)
add_completion_class(Fish)
