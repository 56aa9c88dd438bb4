package PgEncrypt::Recovery;

=head1 NAME

PgEncrypt::Recovery - servers recovered from a base backup to points in the past, for system tests

=head1 SYNOPSIS

  use PgEncrypt::Recovery;

  my $primary = new_node('primary', init => { has_archiving => 1, allows_streaming => 1 });
  $primary->backup('base');
  restore_point($primary, 'half');
  archive_all($primary);
  my $node = recovered($primary, recovery_target_name => 'half');

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(restore_point wal_position archive_all recovered);

=head1 FUNCTIONS

=head2 restore_point(NODE, NAME)

=cut

sub restore_point
{
	my ($node, $name) = @_;
	$node->safe_psql('postgres', "select pg_create_restore_point('$name')");
	return;
}

=head2 wal_position(NODE)

=cut

sub wal_position
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'select pg_current_wal_insert_lsn()');
}

=head2 archive_all(NODE)

Returns when all WAL until now is in the archive.

=cut

sub archive_all
{
	my ($node) = @_;
	my $file = $node->safe_psql('postgres', 'select pg_walfile_name(pg_current_wal_lsn())');
	$node->safe_psql('postgres', 'select pg_switch_wal()');
	$node->poll_query_until('postgres', "select last_archived_wal >= '$file' from pg_stat_archiver") or die 'the WAL is not archived';
	return;
}

=head2 recovered(NODE, SETTING, VALUE)

A server that was made from NODE's backup C<base> and recovered to a point, and takes writes.

=cut

my $number = 0;

sub recovered
{
	my ($node, $setting, $value) = @_;
	my $recovered = PostgreSQL::Test::Cluster->new('recovered_' . ++$number);
	$recovered->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
	$recovered->append_conf('postgresql.conf', "$setting = '$value'\nrecovery_target_action = promote\narchive_mode = off");
	$recovered->start;
	$recovered->poll_query_until('postgres', 'select not pg_is_in_recovery()') or die "no recovery to $value";
	return $recovered;
}

1;
