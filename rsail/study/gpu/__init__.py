"""Three model sizes on one large GPU: the study of a biased oracle at scale, and how well the GPU is used.

`rsail.study.gpu_run` is the command. `plan` says what is done, `lanes` does it in processes side by side, `stages` is
what each of them does, `utilisation` counts operations, `packed` keeps the results in a few files, and `report` is what
notebook 10 shows of them.
"""
