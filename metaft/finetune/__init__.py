"""The final fine-tune and the methods it is compared with."""
