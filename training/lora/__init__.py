"""Trains a LoRA for a model of our families: from a folder of captioned pictures, or from painted ones in a style.

`python -m training.lora` is the command. Nothing here runs in the service.
"""
