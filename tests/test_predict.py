"""python -m metaft.predict beside open_clip itself, on a model that was exported and on one of somebody else."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from metaft import predict
from metaft.clip.export import export, exported
from metaft.clip.names import TOY
from metaft.predict import main
from tests.clip.test_huggingface import hugging_face
from tests.clip.wrapped import dump_wise_ft

NAMES = ("möwe", "猫", "dog, wet")


@pytest.fixture
def run(tmp_path, work) -> Path:
    """A run folder with a model of three classes, whose head and towers have moved."""
    generator = torch.Generator().manual_seed(0)
    classifier = copy.deepcopy(work.classifier)
    classifier.head = torch.nn.Linear(64, 3)
    with torch.no_grad():
        for p in classifier.parameters():
            p.add_(0.3 * p.std(correction=0) * torch.randn(p.shape, generator=generator))
    export(classifier, work.clip, NAMES, tmp_path / "run" / "model")
    return tmp_path / "run"


@pytest.fixture
def images(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "inner/c.png"):
        Image.fromarray(rng.integers(255, size=(50, 40, 3)).astype(np.uint8)).save(folder / name)
    (folder / ".DS_Store").write_bytes(b"Bud1")
    return folder


def expected(folder: Path, files: list[Path], weight=None) -> torch.Tensor:
    """Probabilities by open_clip and the exported head alone."""
    from safetensors.torch import load_file

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    batch = torch.stack([preprocess(Image.open(file)) for file in files])
    head = load_file(folder / "head.safetensors") if weight is None else {"weight": weight, "bias": torch.zeros(1)}
    with torch.no_grad():
        features = model.encode_image(batch, normalize=True)
        scale = 1 if weight is None else model.logit_scale.exp()
        return (scale * features @ head["weight"].T + head["bias"]).softmax(dim=1)


def test_classes_and_probabilities_are_those_of_open_clip(run, images, capsys):
    assert main([str(run), str(images)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    files = [images / name for name in ("a.png", "b.jpg", "inner/c.png")]
    assert [row["filepath"] for row in rows] == [str(file) for file in files]
    p = expected(run / "model", files)
    assert [row["class"] for row in rows] == [NAMES[i] for i in p.argmax(1)]
    assert [float(row["probability"]) for row in rows] == pytest.approx(p.amax(1).tolist(), abs=1e-5)


def test_json_has_the_probability_of_every_class(run, images, tmp_path):
    out = tmp_path / "found.json"
    assert main([str(run / "model"), str(images / "b.jpg"), "--format", "json", "--out", str(out)]) == 0
    (row,) = json.loads(out.read_text(encoding="utf-8"))
    p = expected(run / "model", [images / "b.jpg"])[0]
    assert row["probabilities"] == pytest.approx(dict(zip(NAMES, p.tolist(), strict=True)), abs=1e-6)
    assert row["probability"] == max(row["probabilities"].values())


@pytest.mark.parametrize(("name", "words"), [("a.JSON", ()), ("a.txt", ("--format", "json"))])
def test_the_name_of_the_output_says_its_form(run, images, tmp_path, name, words):
    """It was CSV in a file that is called JSON."""
    assert main([str(run), str(images), "--out", str(tmp_path / name), *words]) == 0
    assert len(json.loads((tmp_path / name).read_text(encoding="utf-8"))) == 3
    assert main([str(run), str(images), "--out", str(tmp_path / "a.json"), "--format", "csv"]) == 0
    assert (tmp_path / "a.json").read_text().startswith("filepath,class,probability\n")


def test_a_model_of_somebody_else_has_a_head_of_names(run, images, tmp_path, capsys):
    for name in ("head.safetensors", "classnames.txt"):
        (run / "model" / name).unlink()
    assert main([str(run), str(images / "a.png")]) == 3
    assert f"{run / 'model'}: a model without a head; allowed: --classnames" in capsys.readouterr().err
    (tmp_path / "names.txt").write_text("cat\nwet dog\n")
    assert main([str(run), str(images / "a.png"), "--classnames", str(tmp_path / "names.txt"), "--format=json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{run / 'model'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{run / 'model'}")
    directions = open_clip.build_zero_shot_classifier(
        model.eval(), tokenizer, ["cat", "wet dog"], open_clip.SIMPLE_IMAGENET_TEMPLATES
    )
    p = expected(run / "model", [images / "a.png"], directions.T)[0]
    assert row["probabilities"] == pytest.approx({"cat": float(p[0]), "wet dog": float(p[1])}, abs=1e-5)


def test_a_checkpoint_file_is_opened_with_its_architecture(run, images, tmp_path, capsys):
    """Of open_clip's training, and a folder as Hugging Face has them: as the folder that says its architecture."""
    model, names = run / "model", tmp_path / "names.txt"
    names.write_text("cat\nwet dog\n")
    words = [str(images / "a.png"), "--classnames", str(names), "--format=json"]
    assert main([str(run), *words]) == 0
    ours = capsys.readouterr().out
    state = load_file(model / "open_clip_model.safetensors")
    torch.save({"epoch": 10, "state_dict": {f"module.{name}": t for name, t in state.items()}}, tmp_path / "e_10.pt")
    theirs = of_hugging_face(tmp_path / "theirs", state)
    for place in (tmp_path / "e_10.pt", theirs):
        assert main([str(place), *words, "--model", TOY]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out == ours
        assert main([str(place), str(images / "a.png"), "--model", TOY]) == 3
        assert "a model without a head; allowed: --classnames" in capsys.readouterr().err
    assert main([str(tmp_path / "e_10.pt"), *words]) == 2
    assert f"--model: nothing given for {tmp_path / 'e_10.pt'}, a " in capsys.readouterr().err
    assert main([str(theirs), *words]) == 0, "its config.json says the architecture"
    assert capsys.readouterr().out == ours
    assert main([str(tmp_path / "e_10.pt"), *words, "--model", "ViT-B-31"]) == 3
    assert "model.name: " in capsys.readouterr().err


def of_hugging_face(folder: Path, state: dict[str, torch.Tensor], **config) -> Path:
    """The toy's weights as transformers saves them, with the config.json that describes it."""
    folder.mkdir()
    save_file(hugging_face(state), folder / "model.safetensors")
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2, "num_hidden_layers": 2}
    text |= {"vocab_size": 49408, "max_position_embeddings": 16, "hidden_act": "gelu"}
    vision = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 3, "num_hidden_layers": 4}
    vision |= {"image_size": 32, "patch_size": 8, "hidden_act": "gelu"}
    sizes = {"text_config": text, "vision_config": vision}
    said = {"model_type": "clip", "projection_dim": 64, **sizes, **config}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "siglip"}, "it says model_type='siglip'; allowed: 'clip', or open_clip_config.json beside it"),
        ({"model_type": None}, "it says no model_type; allowed: 'clip'"),
        ({"projection_dim": 65}, "it says projection_dim=65, vision_config hidden_act=gelu hidden_size=96 "),
        ({"vision_config": {"hidden_act": "relu"}}, "vision_config hidden_act=relu hidden_size=768 "),
        ({"vision_config": {"layer_norm_eps": 1e-6}}, "patch_size=32 layer_norm_eps=1e-06, text_config "),
        ({"vision_config": {"hidden_size": "wide"}}, "vision_config.hidden_size: Input should be a valid integer"),
    ],
)
def test_a_folder_of_hugging_face_that_open_clip_has_no_architecture_for(run, images, tmp_path, capsys, config, said):
    place = of_hugging_face(tmp_path / "theirs", load_file(run / "model" / "open_clip_model.safetensors"), **config)
    (tmp_path / "names.txt").write_text("cat\nwet dog\n")
    assert main([str(place), str(images), "--classnames", str(tmp_path / "names.txt")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{place / 'config.json'}: " in line
    assert said in line


def test_pixels_are_scaled_as_hugging_face_says(run, images, tmp_path, capsys):
    place = of_hugging_face(tmp_path / "theirs", load_file(run / "model" / "open_clip_model.safetensors"))
    (tmp_path / "names.txt").write_text("cat\nwet dog\n")
    words = [str(place), str(images / "a.png"), "--classnames", str(tmp_path / "names.txt"), "--format=json"]

    def said(file: str, content: dict) -> tuple[str, str]:
        (place / file).write_text(json.dumps(content))
        assert main(words) == 0
        return capsys.readouterr()

    usual, half = {"image_mean": list(open_clip.OPENAI_DATASET_MEAN)}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (plain, _), (other, err) = said("preprocessor_config.json", usual), said("preprocessor_config.json", half)
    assert plain != other
    assert "image_mean [0.5, 0.5, 0.5] as preprocessor_config.json says" in err
    for odd in ({"image_std": [0, 0, 0]}, {"image_mean": [123.7, 116.3, 103.5]}, {"image_mean": [True] * 3}):
        (place / "preprocessor_config.json").write_text(json.dumps(odd))
        assert main(words) == 3
        ((name, value),) = odd.items()
        assert f"preprocessor_config.json: {name} is {value!r}; allowed: three numbers from" in capsys.readouterr().err
    (place / "preprocessor_config.json").unlink()
    config = json.loads((run / "model" / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"mean": [0.5] * 3, "std": [0.5] * 3}
    (run / "model" / "open_clip_config.json").write_text(json.dumps(config))
    for name in ("head.safetensors", "classnames.txt", "SHA256SUMS"):
        (run / "model" / name).unlink()
    assert main([str(run), *words[1:]]) == 0
    assert capsys.readouterr().out == other


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
@pytest.mark.parametrize("whole", [True, False], ids=["with text", "without text"])
def test_an_image_tower_of_wise_ft_with_its_head(run, images, tmp_path, capsys, plain, whole):
    """Its own text tower is not needed: the head lies in the file, and its names are given."""
    clip, classifier, _ = exported(run / "model")
    ours, place, names = clip.model, tmp_path / "c.pt", tmp_path / "names.txt"
    head = classifier.head if not whole else torch.nn.Linear(64, 3)
    if not whole:
        del ours.transformer
    dump_wise_ft(ours, place, plain=plain, head=head)
    names.write_text("\n".join([*NAMES, ""]), encoding="utf-8")
    words = [str(images), "--format=json"]
    given = ["--model", TOY, "--classnames", str(names)]
    assert main([str(run), *words]) == 0
    expected = capsys.readouterr().out
    if whole:  # which gives a head from the names, as ever
        assert main([str(place), *words, *given]) == 0
        assert capsys.readouterr().out != expected
        return
    assert main([str(place), *words, *given]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(expected)
    assert main([str(place), *words, "--model", TOY]) == 3
    assert f"{place}: a head of 3 classes without their names; allowed: --classnames" in capsys.readouterr().err
    assert main([str(place), *words, *given, "--templates=openai"]) == 2
    assert f"--templates: for {place}, which has a head; allowed: none" in capsys.readouterr().err
    names.write_text("cat\ndog\n")
    assert main([str(place), *words, *given]) == 3
    assert f"{names}: 2 names; allowed: 3, one for each row of the head" in capsys.readouterr().err


def test_an_image_tower_and_a_head_in_another_file(run, images, tmp_path, capsys):
    clip, classifier, _ = exported(run / "model")
    state, place, names = clip.model.state_dict(), tmp_path / "c.pt", tmp_path / "names.txt"
    names.write_text("\n".join([*NAMES, ""]), encoding="utf-8")
    torch.save({n: t for n, t in state.items() if n.startswith("visual.")}, place)
    given = [str(place), str(images), "--model", TOY, "--classnames", str(names), "--format=json"]
    assert main(given) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "without its text tower there is no head from class names, and no head in it; allowed: a text tower" in line
    assert line.endswith("or classification_head.weight in it, or --head FILE")
    assert main([str(run), str(images), "--format=json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    torch.save({"classification_head.weight": classifier.head.weight.data, "fc.bias": torch.ones(1)}, tmp_path / "w.pt")
    for head in (run / "model" / "head.safetensors", tmp_path / "w.pt"):
        assert main([*given, "--head", str(head)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [row["class"] for row in found] == [row["class"] for row in expected] or head.suffix == ".pt"
        assert (found == expected) == (head.suffix != ".pt"), "a file without a bias has none"


@pytest.mark.parametrize("prefix", ["", "module.", "model.image_encoder."])
def test_an_image_tower_under_its_own_names(run, images, tmp_path, capsys, prefix):
    """As `torch.save(model.visual.state_dict())` has them."""
    clip, classifier, _ = exported(run / "model")
    own = {f"{prefix}{n}": t for n, t in clip.model.visual.state_dict().items()}
    torch.save(own, tmp_path / "c.pt")
    torch.save({**own, **{f"fc.{n}": t for n, t in classifier.head.state_dict().items()}}, tmp_path / "whole.pt")
    (tmp_path / "names.txt").write_text("\n".join([*NAMES, ""]), encoding="utf-8")
    given = ["--model", TOY, "--classnames", str(tmp_path / "names.txt"), "--format=json"]
    assert main([str(run), str(images), "--format=json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    head = ["--head", str(run / "model" / "head.safetensors")]
    assert main([str(tmp_path / "c.pt"), str(images), *given, *head]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == expected
    assert err.endswith("an image tower's own names, without 'visual.'\n")
    assert all(f"{part!r}" in err for part in prefix.split(".")[:-1])
    assert main([str(tmp_path / "c.pt"), str(images), *given]) == 3
    assert "it is an image tower alone" in capsys.readouterr().err
    assert main([str(tmp_path / "whole.pt"), str(images), *given]) == 0
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"weight": torch.zeros(3, 65)}, "weight and its bias are [3, 65] and [3]; allowed: [classes, 64]"),
        ({"weight": torch.full((3, 64), math.nan)}, "weight has 192 of 192 values that are NaN"),
        ({"a": torch.zeros(3, 64)}, "heads in it: none; allowed: one of [classes, 64]"),
        (
            {"head.weight": torch.zeros(3, 64), "fc.weight": torch.zeros(3, 64)},
            "heads in it: head.weight, fc.weight; allowed: one",
        ),
    ],
)
def test_heads_that_fit_no_features(run, images, tmp_path, capsys, head, said):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    torch.save(head, tmp_path / "head.pt")
    words = [str(run), str(images), "--classnames", str(tmp_path / "names.txt"), "--head", str(tmp_path / "head.pt")]
    assert main(words) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'head.pt'}: {said}" in line


def test_a_head_of_wise_ft_on_features_as_they_come(run, images, tmp_path, capsys):
    clip, classifier, _ = exported(run / "model")
    del clip.model.transformer
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    for normalize in (True, False):
        classifier.head.normalize = normalize
        dump_wise_ft(clip.model, tmp_path / "c.pt", plain=True, head=classifier.head)
        words = [str(tmp_path / "c.pt"), str(images), "--classnames", str(tmp_path / "names.txt"), "--model", TOY]
        assert main(words) == (0 if normalize else 3)
    assert "a head with normalize=False; allowed: one on features of unit length" in capsys.readouterr().err


def test_files_become_pixels_as_in_the_run(run, images, capsys):
    clear = images / "clear.png"
    Image.fromarray(np.zeros((40, 40, 4), np.uint8)).save(clear)
    found = []
    for ground in ("white", "black"):
        (run / "config.yaml").write_text(f"data: {{ground: {ground}}}\n")
        assert main([str(run), str(clear)]) == 0
        found.append(capsys.readouterr().out)
        Image.new("RGB", (40, 40), ground).save(images / f"{ground}.png")
        assert main([str(run), str(images / f"{ground}.png")]) == 0
        assert capsys.readouterr().out.replace(f"{ground}.png", "clear.png") == found[-1]
    assert found[0] != found[1]


def test_a_model_takes_along_how_files_became_pixels(run, images, work, tmp_path, capsys):
    """Wherever it goes, whatever settings lie there; one of before in a run is read as the run's settings say."""
    clear = images / "clear.png"
    Image.fromarray(np.zeros((40, 40, 4), np.uint8)).save(clear)

    def said(model: Path) -> str:
        assert main([str(model), str(clear)]) == 0
        return capsys.readouterr().out

    white = said(run / "model")
    (run / "config.yaml").write_text("data: {ground: black}\n")
    black = said(run)
    assert said(run / "model") == black != white
    _, classifier, names = exported(run / "model")
    export(classifier, work.clip, names, tmp_path / "elsewhere", ("black", False))
    assert said(tmp_path / "elsewhere") == black
    (run / "config.yaml").write_text("data: {ground: white}\n")
    export(classifier, work.clip, names, run / "model", ("black", False))
    assert said(run) == said(run / "model") == black


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_is_predicted_before_a_fault_is_kept(run, images, tmp_path, monkeypatch, capsys, form):
    monkeypatch.setattr(predict, "BATCH", 1)
    out, kept, words = tmp_path / "p", tmp_path / "p.tmp", [str(run), str(images), "--format", form]
    assert main(words) == 0
    whole = capsys.readouterr().out
    (images / "inner" / "z.png").write_bytes(b"no picture")
    assert main([*words, "--out", str(out)]) == 3
    said = f"allowed: a picture, or --skip, and then the images behind those in {kept}\n"
    assert capsys.readouterr().err.endswith(said)
    assert not out.exists()
    assert kept.read_text(encoding="utf-8") == whole.removesuffix("\n]\n")
    assert main([*words, "--skip", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == whole
    assert not kept.exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["absent", "images"], 3, "absent: no such folder"),
        (["empty", "images"], 3, "empty: no open_clip_config.json; allowed: a run"),
        (
            ["begun", "images"],
            3,
            "begun: a run that has left no model yet; allowed: one that has ended, or --resume begun",
        ),
        (["run", "gone.png"], 3, "gone.png: unreadable image (No such file or directory)"),
        (["run", "images/bad.png"], 3, "bad.png: unreadable image"),
        (["run", "empty"], 3, "empty: no pictures; allowed: image files"),
        (["run", "images", "--device", "cuda:99"], 2, "device: 'cuda:99'"),
        (["run", "images", "--classnames", "gone.txt"], 3, "class names: cannot read gone.txt"),
        (["run", "images", "--classnames", "twice.txt"], 3, "the name of class Cat is 'Cat', as that of cat"),
        (["run", "images", "--classnames", "long.txt"], 3, "is cut after"),
        (["run", "images", "--out", "nowhere/p.csv"], 2, "--out: nowhere/p.csv, in a folder that does not exist"),
        (["run", "images", "--out", "empty"], 2, "--out: empty, a folder; allowed: a file"),
        (["run", "images/bad.png", "--skip"], 3, "none of 1 can be read; allowed: at least one picture"),
        (["run", "images/bad.png"], 3, "allowed: a picture, or --skip"),
        (["run", "images/\udcff.png"], 3, "a path with bytes that are not UTF-8"),
        (["run", "images", "--device", "meta"], 2, "device: 'meta'; allowed: auto, cpu"),
        (["run", "images", "--templates", "openai"], 2, "--templates: 'openai' without --classnames; allowed: both"),
        (["run", "images", "--classnames", "ok.txt", "--templates", "opnai"], 3, "--templates: cannot read opnai"),
        (["run", "images", "--classnames", "pairs.txt"], 3, "pairs.txt, line 1: 'c1 = cat'"),
        (["run", "images", "--classnames", "ok.txt", "--templates", "~/t.txt"], 3, "cannot read HOME/t.txt"),
        (["run", "images", "--out", "images/../images/a.png"], 2, "a.png, one of the images; allowed: a file of its"),
        (
            ["run", "images", "--out", "run/model/load.py"],
            2,
            "run/model/load.py, a file of the run; allowed: a file of its",
        ),
        (["run", "images", "--head", "ok.txt"], 2, "--head: ok.txt without --classnames; allowed: both"),
        (
            ["run", "images", "--head", "ok.txt", "--classnames", "ok.txt", "--templates", "openai"],
            2,
            "--head: ok.txt with --templates; allowed: one of them",
        ),
        (
            ["run", "images", "--head", "twice.txt", "--classnames", "ok.txt", "--out", "twice.txt"],
            2,
            "--out: twice.txt, the head; allowed: a file of its own",
        ),
        (["run", "images", "--classnames", "ok.txt", "--out", "ok.txt"], 2, "ok.txt, the class names; allowed: a file"),
        (["run", "images", "--model", "ViT-B-32"], 2, "--model: 'ViT-B-32' for run, which is no checkpoint; allowed"),
        (["ok.txt", "images"], 2, "--model: nothing given for ok.txt, a checkpoint file; allowed: its architecture in"),
        (["seeds", "images"], 3, "seeds: runs of several seeds; allowed: one of them, such as seeds/seed-3"),
    ],
)
def test_faults(run, images, tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").touch()
    (tmp_path / "seeds" / "seed-1").mkdir(parents=True)
    (tmp_path / "seeds" / "seed-3" / "model").mkdir(parents=True)
    for name in ("config.yaml", "seeds.json"):
        (tmp_path / "seeds" / name).touch()
    monkeypatch.setenv("HOME", "HOME")
    (tmp_path / "ok.txt").write_text("cat\ndog\n")
    (tmp_path / "pairs.txt").write_text("c1 = cat\nc2 = dog\n")
    (tmp_path / "twice.txt").write_text("cat\nCat\n")
    (tmp_path / "long.txt").write_text("cat\n" + "dog " * 200 + "\n")
    (images / "bad.png").write_bytes(b"no picture")
    assert main(words) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "json"])
def test_earlier_predictions_in_the_run_are_replaced(run, images, form):
    words = [str(run), str(images), "--format", form, "--out", str(run / "p.txt")]
    assert [main(words), main(words)] == [0, 0]


def test_skipping_says_so(run, images, capsys):
    (images / "bad.png").write_bytes(b"no picture")
    assert main([str(run), str(images), "--skip"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 4
    assert "skipped: " in told.err
    assert "on_unreadable" not in told.err


def test_files_are_as_a_shell_names_them(run, images, monkeypatch, capsys):
    monkeypatch.setenv("THERE", str(images))
    shutil.copy(images / "a.png", images / "a$HOME.png")
    monkeypatch.chdir(images)
    assert main([str(run), "a$HOME.png", "$THERE/a.png"]) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.split(",")[0] == "a$HOME.png"
    assert second.split(",")[0] == str(images / "a.png")


def test_parts_that_do_not_belong_together(run, images, capsys):
    (run / "model" / "classnames.txt").write_text("a\nb\n")
    assert main([str(run), str(images)]) == 3
    assert "classnames.txt: 2 names; allowed: 3, one for each row of the head" in capsys.readouterr().err
    (run / "model" / "classnames.txt").write_bytes("caf\u00e9\n".encode("latin-1"))
    assert main([str(run), str(images)]) == 3
    assert "allowed: names in UTF-8, as metaft writes them" in capsys.readouterr().err
    (run / "model" / "classnames.txt").write_text("a\nb\n")
    (run / "model" / "head.safetensors").write_bytes(b"")
    assert main([str(run), str(images)]) == 3
    assert "allowed: a head that metaft exported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "value", "said"),
    [((3, 5), 0.0, "a head of 5 features, of a model that gives"), (None, math.nan, "a head that is not finite")],
)
def test_a_head_of_another_model(run, images, capsys, shape, value, said):
    head = run / "model" / "head.safetensors"
    whole = load_file(head)
    weight = whole["weight"] + value if shape is None else torch.zeros(shape)
    save_file({"weight": weight, "bias": whole["bias"]}, head)
    (run / "model" / "SHA256SUMS").unlink()
    assert main([str(run), str(images)]) == 3
    assert said in capsys.readouterr().err


def test_a_head_alone_is_no_model(run, images, capsys):
    (run / "model" / "open_clip_model.safetensors").unlink()
    assert main([str(run), str(images)]) == 3
    assert "no open_clip_model.safetensors beside head.safetensors; allowed: both" in capsys.readouterr().err
