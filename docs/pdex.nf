#!/usr/bin/env nextflow
// A screen in many files: count each file, test the genes in shares, put the shares together.
//     nextflow run pdex.nf --files 'plates/*.h5ad' --groupby target --shares 64

params.files = 'plates/*.h5ad'
params.groupby = 'target'
params.reference = 'non-targeting'
params.shares = 16
params.output = 'de.parquet'
// More options of pdex tabulate, such as '-g batch', and of pdex de, such as '--strata batch'.
params.tabulate = ''
params.de = ''

process TABULATE {
    tag "${screen.name}"

    input:
    path screen
    val options

    output:
    path "${screen.name}.tables"

    script:
    """
    pdex tabulate ${screen} ${options} -o '${screen.name}.tables' --threads ${task.cpus}
    """
}

process TEST {
    tag "${share}"

    input:
    path 'tables/*'
    val options
    val share

    output:
    path 'shares/*.ipc'

    script:
    """
    pdex de 'tables/*' ${options} --part ${share} -o shares --threads ${task.cpus}
    """
}

process COLLECT {
    publishDir 'results', mode: 'copy'

    input:
    path 'shares/*'
    val output

    output:
    path "${output}"

    script:
    """
    pdex collect shares -o '${output}' --threads ${task.cpus}
    """
}

workflow {
    files = channel.fromPath(params.files, type: 'any', checkIfExists: true)
    TABULATE(files, "-g '${params.groupby}' ${params.tabulate}")

    shares = channel.of(1..(params.shares as Integer)).map { i -> "${i}/${params.shares}" }
    options = "-g '${params.groupby}' -r '${params.reference}' ${params.de}"
    TEST(TABULATE.out.collect(), options, shares)

    COLLECT(TEST.out.collect(), params.output)
}
