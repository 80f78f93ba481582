#!/bin/bash
# Two nodes of eight GPUs:  sbatch recipes/cluster/slurm.sh recipes/flux-12b-wlf.yaml
# When the time is nearly over Slurm sends SIGTERM, and the run saves and stops; --requeue and the
# last lines start it again, and it goes on where it was.
#SBATCH --job-name=diffusion4k
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node 8 \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$head_node:29500" \
  --no-python diffusion4k train "$@"
code=$?
# 143: stopped by SIGTERM, all is saved.
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
