"""Values of options and of recipes that are wrong: command, what is wrong, what is named."""

__all__ = ["ENDPOINT", "SMALL", "VALUES"]

ENDPOINT = "--endpoint http://127.0.0.1:9/v1 --model m --retries 0 --timeout 2"
SIZE = "--width 64 --height 64"
SMALL = "--width 64 --height 64 --steps 1"
VALUES: tuple[tuple[str, str, str], ...] = (
    *(
        (
            f"generate lake --model MODEL {SIZE} --{option} {value} --out out",
            f"{option}-{value[:12]}",
            name,
        )
        for option, value, name in (
            *(("width", value, "width") for value in ("-1", "0", "1000", "x", "9" * 30)),
            *(("height", value, "height") for value in ("-32", "33", "64.5")),
            *(("steps", value, "steps") for value in ("-1", "0", "1000000", "1.5")),
            *(("guidance", value, "guidance") for value in ("nan", "-1", "inf", "x")),
            *(("seed", value, "seed") for value in ("-1", "9" * 30, "x")),
            *(("shift", value, "shift") for value in ("0", "nan", "-1")),
            *(("stages", value, "stage") for value in ("x", "64,32", "-1", ",")),
            ("draft", "-1", "draft"),
            ("strength", "0.5", "strength"),
            ("stage-strength", "2", "strength"),
            ("stage-steps", "-1", "steps"),
            ("window", "-1", "window"),
            ("low-bands", "wrong", "wrong"),
            ("lora-scale", "1", "LoRA"),
            ("weights", "wrong", "wrong"),
            ("weights", "gguf:nowhere.gguf", "nowhere.gguf"),
            ("weights", "file:nowhere.safetensors", "nowhere.safetensors"),
            ("memory", "wrong", "wrong"),
            ("max-memory", "wrong", "wrong"),
            ("max-memory", "9" * 400, "memory"),
            ("factor", "7", "7"),
            ("positions", "wrong", "wrong"),
            ("trained-tokens", "-1", "tokens"),
            ("attention-chunk", "-1", "chunk"),
            ("dtype", "wrong", "wrong"),
            *(("cache", value, value) for value in ("wrong", "first-block:2", "taylorseer:1.5")),
            *(("guidance-interval", v, f"interval {v}") for v in ("x", "0.8,0.2", "0,2", "0.5")),
            *(("attention", value, value) for value in ("wrong", "flash3", "sage")),
            ("format", "wrong", "wrong"),
            ("init", "nowhere.png", "nowhere.png"),
            ("init", "text.png", "text.png"),
            ("negative-prompt", "x --guidance 1", "negative prompt"),
            ("model", "nobody/nothing", "nobody/nothing"),
            ("model", "../../etc", "../../etc"),
            ("unknown", "1", "--unknown"),
        )
    ),
    *(
        (f"train run.yaml {value}", value[:40], name)
        for value, name in (
            ("steps=-1", "steps"),
            ("steps=0", "steps"),
            ("steps=true", "steps"),
            ("steps=1.5", "steps"),
            ("steps=ten", "steps"),
            ("'steps=[1]'", "steps"),
            ("batch_size=0", "batch_size"),
            ("batch_size=1000", "batch_size"),
            ("resolution=100", "resolution"),
            ("resolution=100000000000000", "resolution"),
            ("resolution=-32", "resolution"),
            ("optimizer.learning_rate=.nan", "learning_rate"),
            ("optimizer.learning_rate=-1", "learning_rate"),
            ("optimizer.learning_rate=true", "learning_rate"),
            ("optimizer.name=wrong", "wrong"),
            ("objective.name=wrong", "wrong"),
            ("'objective={name: wavelet-flow, wavelet: wrong}'", "wavelet"),
            ("timesteps.distribution=wrong", "wrong"),
            ("lora.rank=1000000000000", "rank"),
            ("lora.rank=-1", "rank"),
            ("'lora={rank: 2, targets: [nowhere]}'", "nowhere"),
            ("precision=wrong", "wrong"),
            ("ema=2", "ema"),
            ("crop=1000", "crop"),
            ("output=", "output"),
            ("output=/dev/null", "output"),
            ("cache=memory://nowhere/none", "memory://nowhere/none"),
            ("model=nobody/nothing", "nobody/nothing"),
            ("model=3", "model"),
            ("'log.trackers=[wrong]'", "wrong"),
            ("nonsense=1", "nonsense"),
            ("nonsense", "nonsense"),
            ("=1", "=1"),
            ("steps.a.b=1", "steps"),
            ("seed=" + "9" * 5000, "seed"),
            ("'steps=!!int x'", "steps"),
            ("output=2024-13-45", "output"),
        )
    ),
    *(
        (f"vae train vae.yaml {value}", value[:40], name)
        for value, name in (
            ("steps=0", "steps"),
            ("crop=33", "crop"),
            ("start=wrong", "wrong"),
            ("perceptual.name=wrong", "wrong"),
            ("loss.perceptual=-1", "perceptual"),
            ("nonsense=1", "nonsense"),
        )
    ),
    *(
        (f"ablate study.yaml {value}", value[:40], name)
        for value, name in (
            ("steps=0", "steps"),
            ("'seeds=[0, 0]'", "seeds"),
            ("baseline=wrong", "wrong"),
            ("'arms={}'", "arms"),
            ("arms.other=nowhere.yaml", "nowhere.yaml"),
            ("prompts=nowhere.txt", "nowhere.txt"),
            ("reference=nowhere", "nowhere"),
            ("nonsense=1", "nonsense"),
        )
    ),
    *(
        (f"cache PICTURES --model MODEL --out out {options}", options, name)
        for options, name in (
            ("--resolution 100", "100"),
            ("--resolution 0", "0"),
            ("--resolution -32", "-32"),
            ("--buckets 0.5", "0.5"),
            ("--buckets nan", "nan"),
            ("--dtype wrong", "wrong"),
            ("--device wrong", "wrong"),
        )
    ),
    *(
        (f"evaluate PICTURES {options}", options, name)
        for options, name in (
            ("--patch-size 0", "patch"),
            ("--patch-size -1", "patch"),
            ("--patches-per-image 0", "patches"),
            ("--grid-period 0", "period"),
            ("--against ratings.csv --scale 10 1", "scale"),
            ("--figure out.png", "--figure"),
            ("--device wrong", "wrong"),
            ("--out MORE", "more"),
            ("--out text.png/out.json", "text.png"),
        )
    ),
    *(
        (f"benchmark bench.yaml {value}", value[:40], name)
        for value, name in (
            ("'models=[]'", "models"),
            ("'models=[{name: a}]'", "model"),
            ("'models=[{name: ../a, model: pocket}]'", "../a"),
            ("limit=0", "limit"),
            ("format=wrong", "wrong"),
            ("prompts=nowhere", "nowhere"),
            ("networks.clip=nowhere", "nowhere"),
            ("nonsense=1", "nonsense"),
        )
    ),
    ("benchmark", "nothing", "recipe"),
    ("benchmark --model MODEL --prompts prompts.txt --width 1000 --out out", "width", "1000"),
    ("compare PICTURES --out out", "one-folder", "1 image folder"),
    ("compare PICTURES PICTURES --out out", "one-name", "pictures"),
    ("compare PICTURES MORE --match wrong --out out", "match", "wrong"),
    ("compare PICTURES MORE --out PICTURES", "into-itself", "pictures"),
    ("compare PICTURES MORE --results other=results.json --out out", "results-of-none", "other"),
    *(
        (f"plan {options}", options[:40], name)
        for options, name in (
            ("--width 1000", "1000"),
            ("--steps 0", "steps"),
            ("--model nowhere", "nowhere"),
            ("--gpus 0", "gpus"),
            ("--gpu-memory wrong", "wrong"),
            ("--gpu-memory " + "9" * 400, "memory"),
            ("--ram -1GiB", "-1GiB"),
            ("--teraflops -1", "-1"),
            ("--utilisation 2", "2"),
            ("--images 5", "--images"),
            ("--stages 5,x", "5,x"),
            ("--weights wrong", "wrong"),
            ("--memory wrong", "wrong"),
            ("run.yaml --width 64", "width"),
            ("run.yaml nonsense=1", "nonsense"),
            ("run.yaml steps=1" + "0" * 400, "steps"),
        )
    ),
    *(
        (f"vae eval PICTURES --out out {options}", options, name)
        for options, name in (
            ("--size 100", "100"),
            ("--size 0", "0"),
            ("--vae MODEL@9 --size 64", "@9"),
            ("--lpips-network wrong", "wrong"),
            ("--max-memory wrong --size 64", "wrong"),
            ("--inception nowhere.safetensors --size 64", "nowhere.safetensors"),
            ("--vae MODEL --size 512", "0.png"),
        )
    ),
    *(
        (f"demo --out out {options}", options, name)
        for options, name in (
            ("--side 1000", "1000"),
            ("--side -128", "-128"),
            ("--sampling-steps 0", "0"),
            ("--training-steps 1", "1"),
            ("--seed -1", "-1"),
            ("--model nobody/nothing", "nobody/nothing"),
        )
    ),
    *(
        (f"dataset build build.yaml {value}", value[:40], name)
        for value, name in (
            ("'sources=[]'", "sources"),
            ("sources=nowhere", "sources"),
            ("header.min_shorter_side=-1", "min_shorter_side"),
            ("thresholds.blur=wrong", "blur"),
            ("split.count=-1", "count"),
            ("'hooks=[{name: h, function: \"nowhere:f\"}]'", "nowhere"),
            ("output=text.png", "text.png"),
            ("nonsense=1", "nonsense"),
        )
    ),
    *(
        (f"dataset caption PICTURES {ENDPOINT} --overwrite {options}", options, name)
        for options, name in (
            ("--endpoint ftp://nowhere", "ftp://nowhere"),
            ("--endpoint nowhere", "nowhere"),
            ("--longest 0", "longest"),
            ("--quality 101", "quality"),
            ("--detail wrong", "detail"),
            ("--concurrency 0", "concurrency"),
            ("--timeout nan", "timeout"),
            ("--timeout -1", "timeout"),
            ("--retries -1", "retries"),
            ("--budget -1", "budget"),
            ("--tries 0", "tries"),
            ("--max-words 0", "words"),
        )
    ),
    ("dataset stats PICTURES --out text.png", "out-file", "text.png"),
    ("dataset stats PICTURES --out out --samples 0", "samples", "samples"),
    ("dataset verify PICTURES --fix MORE", "fix-there", "more"),
    ("dataset verify PICTURES --fix PICTURES", "fix-itself", "pictures"),
    ("dataset verify PICTURES --min-side -1", "min-side", "min-side"),
    ("dataset inspect PICTURES --port 99999", "port", "99999"),
    *(
        (f"figure {figure} PICTURES {more} {options}", f"{options[:24]}", name)
        for figure, more in (
            ("gallery", ""),
            ("variations", ""),
            ("text", ""),
            ("reconstructions", "--vae MODEL --size 64"),
            ("side-by-side", "MORE"),
            ("ablation", "MORE"),
        )
        for options, name in (
            ("--out out.gif", "out.gif"),
            ("--out MORE", "more"),
            ("--out out.png --width 0", "width"),
            ("--out out.png --image nowhere", "nowhere"),
        )
    ),
    ("figure side-by-side PICTURES MORE --patch 1,2 --out out.png", "patch", "1,2"),
    ("figure side-by-side PICTURES MORE --patch 5000,0,64 --out out.png", "patch-out", "5000"),
    ("figure gallery PICTURES --columns 0 --out out.png", "columns", "columns"),
    *(
        (f"judge PICTURES MORE --out out {ENDPOINT} {options}", options, name)
        for options, name in (
            ("--patches -1", "patches"),
            ("--tries 0", "tries"),
            ("--endpoint file:///etc/passwd", "file:///etc/passwd"),
        )
    ),
    (f"judge PICTURES --out out {ENDPOINT}", "one-folder", "1 image folder"),
    (f"judge PICTURES MORE --out text.png {ENDPOINT}", "out-file", "text.png"),
    *(
        (f"study {options}", options[:40], name)
        for options, name in (
            ("check people.yaml nonsense=1", "nonsense"),
            ("check people.yaml views=0", "views"),
            ("check people.yaml task.kind=wrong", "wrong"),
            ("check people.yaml folder=text.png", "text.png"),
            ("links people.yaml --count 0", "count"),
            ("links people.yaml --count -1", "count"),
            ("links people.yaml --revoke nobody", "study.sqlite"),
            ("links people.yaml participants.days=99999999", "days"),
            ("serve people.yaml --port 99999", "99999"),
            ("serve people.yaml --proxy wrong --port 0", "wrong"),
            ("serve people.yaml --address ftp://x --port 0", "ftp://x"),
            ("export people.yaml out.jsonl", "study.sqlite"),
            ("backup people.yaml out.sqlite", "study.sqlite"),
            ("report text.png --out out", "text.png"),
            ("report nowhere.csv --out out", "nowhere.csv"),
        )
    ),
    ("merge-lora lora --model MODEL --out MORE", "out-there", "more"),
    ("export nowhere out.safetensors", "export-missing", "nowhere"),
    ("export MODEL out.safetensors --dtype int3", "export-dtype", "int3"),
    ("export MODEL out.safetensors --part text", "export-part", "text"),
    ("export MODEL text.png", "export-ending", "text.png"),
    ("merge-lora lora --model MODEL --out out --scale nan", "scale", "nan"),
    (f"generate lake --model MODEL --lora lora --lora-scale nan {SMALL} --out out", "nan", "scale"),
    ("lora inspect nowhere", "lora-missing", "nowhere"),
    ("lora inspect text.png", "lora-file", "text.png"),
    ("lora inspect lora --figure out.pdf", "lora-figure", "out.pdf"),
    ("lora convert lora out.safetensors --layout xlabs", "lora-layout", "xlabs"),
    ("lora convert lora out.safetensors --layout kohya --family x", "lora-family", "family x"),
    ("lora convert lora out.pt --layout kohya", "lora-ending", "out.pt"),
    ("lora convert lora MORE --layout peft", "lora-there", "more"),
    ("models nowhere", "missing", "nowhere"),
    ("models text.png", "file", "text.png"),
    ("nonsense", "no-such-verb", "nonsense"),
    ("generate", "nothing", "prompt"),
    ("generate lake --prompts prompts.txt", "both", "prompt"),
    (f"generate lake --model MODEL {SMALL} --out text.png", "foreign-file", "text.png"),
    (f"generate lake --model MODEL {SMALL} --out people.yaml", "out-file", "people.yaml"),
    (f"generate lake --model MODEL {SMALL} --out out.webp", "ending", "out.webp"),
    ("cache PICTURES --model MODEL --resolution 64 --out text.png", "out-file", "text.png"),
    ("vae eval PICTURES --vae MODEL --size 64 --out text.png", "out-file", "text.png"),
    ("benchmark --images PICTURES --prompts prompts.txt --out text.png", "out-file", "text.png"),
    ("compare PICTURES MORE --out text.png", "out-file", "text.png"),
    ("demo --side 384 --training-steps 2 --out text.png", "out-file", "text.png"),
    ("train run.yaml output=text.png", "out-file", "text.png"),
    ("ablate study.yaml output=text.png", "out-file", "text.png"),
    ("vae train vae.yaml output=text.png", "out-file", "text.png"),
)
