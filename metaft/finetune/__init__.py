"""The final fine-tune and the methods it is compared with. Called, it is `metaft.api.finetune`."""

from metaft.lazy import make_callable

make_callable(__name__, "metaft.api:finetune")
