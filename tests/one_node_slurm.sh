#!/bin/sh
# Start SLURM on this machine alone, as root, with its files in a folder:
#     apt-get install slurm-wlm munge
#     sh tests/one_node_slurm.sh /tmp/slurm
# Then, with the SLURM_CONF that it prints, sbatch and tests/io/test_many_jobs.py use it. To stop it:
#     scontrol shutdown; kill $(cat /run/munge/munged.pid)
set -eu
folder=$1
mkdir -p "$folder/state" "$folder/spool" /run/munge
chown munge: /run/munge
cat > "$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=8192 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES State=UP
END
echo CgroupPlugin=autodetect > "$folder/cgroup.conf"
export SLURM_CONF="$folder/slurm.conf"
munge -n > /dev/null 2>&1 || setpriv --reuid=munge --regid=munge --clear-groups munged
slurmctld
slurmd -N localhost
for _ in $(seq 30); do
  [ "$(sinfo --noheader --format=%t)" = idle ] && break
  sleep 1
done
sinfo
echo "export SLURM_CONF=$SLURM_CONF"
