"""From a name to weights to a ready model: released files, published models, local files.

`resolve` finds the files of a name, `recognise` says what they hold, `build` makes the model (`load_denoiser`,
`load_denoised`), `convert` writes the original's layout or ours. Below them: `read` (safe reading), `folder`, `info`
and `card` (our model folders), `hub` (Hugging Face), `checkpoint` (of our training). This module imports nothing.
"""
