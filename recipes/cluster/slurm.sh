#!/bin/bash
# Two nodes of eight GPUs:  sbatch recipes/cluster/slurm.sh recipes/flux-12b-wlf.yaml
# When the time is nearly over Slurm sends SIGTERM to every process, and the run saves and stops;
# the last lines queue the job again, and it continues. After a crash --requeue does that.
#SBATCH --job-name=diffusion4k
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
# Slurm starts the processes itself: under torchrun they would have half a minute to save.
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  exec diffusion4k train "$@"
' train "$@"
code=$?
# 143: stopped by SIGTERM, all is saved.
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
