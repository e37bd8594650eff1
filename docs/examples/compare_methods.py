# %% [markdown]
# # Methods of robust fine-tuning, side by side
#
#     python docs/examples/compare_methods.py
#
# Each method runs in the same loop on the same images, and is evaluated on the same tests. A method's knobs are set
# under `finetune.knobs`; those left open are chosen on validation data. `metaft.run --list methods` has all of them.

# %%
import metaft

SETTINGS = {
    "data": {"format": "shapes", "options": {"id_train": 400, "id_val": 100, "ood_val": 100, "test": 200}},
    "finetune": {"epochs": 2, "knobs": {"l2_sp": {"weight": 0.1}, "ftp": {"kappa": 0.5}}},
    "evaluation": {"bootstrap": 200},
}
METHODS = ("zero_shot", "ft", "l2_sp", "ftp", "wise_ft", "linear_probe_ood_val")


# %% [markdown]
# ## What each gains on OOD tests, and what it costs in distribution


# %%
def main(settings=SETTINGS, methods=METHODS) -> dict[str, tuple[float, float]]:
    """By method: the accuracy in distribution and the mean over OOD tests, in percent."""
    results = metaft.compare(settings, methods=list(methods))
    found = {}
    for method, splits in results.metrics.items():
        tests = [splits[name]["accuracy"] for name in results.splits if name.startswith("ood_test/")]
        found[method] = (100 * splits["id_test"]["accuracy"], 100 * sum(tests) / len(tests))
    for method, (inside, outside) in sorted(found.items(), key=lambda pair: pair[1][1]):
        print(f"{method:>22}: {inside:5.1f} % ID, {outside:5.1f} % OOD")
    print(f"best by OOD validation: {results.handed_back}")
    return found


if __name__ == "__main__":
    main()
