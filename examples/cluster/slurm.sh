#!/bin/sh
# Predicts one volume on many machines: sbatch examples/cluster/slurm.sh RUN INPUT OUTPUT
#
# The output is Zarr or N5 on a file system that all see. Each job of the array takes its share of the blocks; jobs that
# failed or were preempted are submitted again as they are and go on with what is missing.
#SBATCH --job-name=znn
#SBATCH --array=1-16
#SBATCH --cpus-per-task=32
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -eu
exec znn infer --model "$1" --input "$2" --output "$3" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
    --threads "$SLURM_CPUS_PER_TASK" --memory 8G
